//! The jobs of one batch: which share a transaction, and with what result each ends.

pub mod record;
