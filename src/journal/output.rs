//! Where events go: to the journal, to standard error, or to both.

use std::io::Write;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::{IDENTIFIER, plain};

/// Sends events to the journal; also to standard error when `terminal` says so, and instead of the
/// journal where there is none.
pub fn init(terminal: bool) {
    let journal = tracing_journald::layer().ok().map(|layer| {
        layer
            .with_field_prefix(None)
            .with_syslog_identifier(IDENTIFIER.to_owned())
            .with_custom_fields(unit().map(|unit| ("OBJECT_SYSTEMD_UNIT", unit)))
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            })
    });
    let errors = (terminal || journal.is_none()).then_some(StderrLayer);
    let level = tracing_subscriber::filter::LevelFilter::INFO;
    // a second call can only come from a test in the same process
    let _ = tracing_subscriber::registry()
        .with(level)
        .with(journal)
        .with(errors)
        .try_init();
}

/// The unit this process runs in. journald finds that out by itself, unless the process has ended by
/// then; `journalctl -u` believes this field of root's processes, so that no last word is missed.
fn unit() -> Option<String> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = cgroups.lines().find(|line| line.starts_with("0::"))?;
    let unit = own.rsplit('/').next()?;
    unit.ends_with(".service").then(|| unit.to_owned())
}

/// Writes the messages, without their fields, to standard error.
struct StderrLayer;

impl<S: Subscriber> Layer<S> for StderrLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = MessageText(String::new());
        event.record(&mut message);
        let mark = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        // a terminal that is gone, or a pipe that was closed, must not end a running transaction
        let _ = writeln!(std::io::stderr(), "{mark}{}", plain(&message.0));
    }
}

struct MessageText(String);

impl Visit for MessageText {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
