//! Values in, values out: what jobs, targets and changes mean. Nothing here looks at the host.

pub mod lifecycle;
pub mod partial;
pub mod selection;
pub mod self_package;
