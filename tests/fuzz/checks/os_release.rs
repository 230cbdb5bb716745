//! What an operating system calls itself: nothing is made up, and every host gets an answer or advice.

use super::shown_safely;
use crate::package::detect::choose;
use crate::package::host_facts::HostFacts;
use crate::package::os_release::OsRelease;

/// The text of os-release(5).
pub fn os_release(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let os = OsRelease::parse(&text);
    assert!(!os.id.is_empty() && !os.name.is_empty());
    let bare = |text: &str| text.replace(['\\', '"', '\''], "");
    for value in os.ids().chain([os.name.as_str()]) {
        let known = value == "linux" || bare(&text).contains(&bare(value));
        assert!(known, "nobody wrote {value:?}");
        assert!(!value.contains('\n'), "{value:?}");
    }
    let facts = HostFacts {
        os_release: text.into_owned(),
        ..HostFacts::default()
    };
    // without any tool there is nothing to choose, only advice
    let advice = choose(None, &facts)
        .expect_err("no tool is there")
        .to_string();
    let helpful = advice.contains("backend =") || advice.contains("what updates it is");
    assert!(helpful, "{advice}");
    shown_safely(&crate::journal::plain(&advice));
}
