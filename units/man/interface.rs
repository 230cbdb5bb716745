//! The manual page of the D-Bus interface, made of the XML that is installed: each member with the comment before it.

use std::fmt::Write;

/// The text of the interface.
const XML: &str = include_str!("../dbus-1/interfaces/org.linux_patch.Agent1.xml");

/// The page, as roff.
pub fn page() -> String {
    let mut page = String::from(
        ".TH ORG.LINUX_PATCH.AGENT1 5 \"\" \"linux\\-patch\\-api\" \"\"\n.SH NAME\n\
         org.linux_patch.Agent1 \\- the D\\-Bus interface of linux\\-patch\\-api\n.SH SYNOPSIS\n.nf\n\
         busctl introspect org.linux_patch.Agent1 /org/linux_patch/Agent1\n.fi\n.SH DESCRIPTION\n\
         The service has one object on the system bus, and starts when it is called.\n\
         Every user may read; a method that changes something names the polkit action that it takes.\n\
         Members are only ever added; the property\n.B ProtocolVersion\nsays which there are.\n\
         A dictionary has no entry where a value is not known.\n",
    );
    for (kind, title) in [
        ("method", "METHODS"),
        ("signal", "SIGNALS"),
        ("property", "PROPERTIES"),
    ] {
        let _ = writeln!(page, ".SH {title}");
        let members = members(kind);
        page.extend(members.iter().map(Member::roff));
    }
    page.push_str(
        ".SH EXAMPLES\n.nf\nbusctl call org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1 \\\n    \
         Apply 'asa{sv}' 1 all 1 reboot s when\\-needed\nbusctl get\\-property org.linux_patch.Agent1 \
         /org/linux_patch/Agent1 org.linux_patch.Agent1 Health\n.fi\n.SH SEE ALSO\n.BR patchctl (1),\n\
         .BR patch\\-apply@.service (8),\n.BR patch\\-request.socket (8),\n.BR busctl (1)\n",
    );
    page
}

/// A member of the interface.
struct Member {
    /// Its name and its types, as the page shows them.
    head: String,
    /// The comment before it.
    about: String,
}

impl Member {
    fn roff(&self) -> String {
        let about = if self.about.is_empty() {
            "."
        } else {
            &self.about
        };
        format!(".TP\n.B {}\n{}\n", escaped(&self.head), escaped(about))
    }
}

/// All members of a kind, in the order of the file.
fn members(kind: &str) -> Vec<Member> {
    let (mut members, mut about) = (Vec::new(), String::new());
    let mut rest = XML;
    while let Some(start) = rest.find('<') {
        rest = &rest[start..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            let (text, after) = comment.split_once("-->").unwrap_or((comment, ""));
            about = text.split_whitespace().collect::<Vec<_>>().join(" ");
            rest = after;
            continue;
        }
        let end = rest.find('>').unwrap_or(rest.len() - 1);
        let tag = &rest[..=end];
        let element = tag[1..].split([' ', '>', '/']).next().unwrap_or_default();
        if element == kind {
            let body = if tag.ends_with("/>") {
                tag
            } else {
                whole(rest, kind)
            };
            members.push(Member {
                head: head(tag, body, kind),
                about: std::mem::take(&mut about),
            });
        } else if ["method", "signal", "property"].contains(&element) {
            about.clear();
        }
        rest = &rest[end + 1..];
    }
    members
}

fn whole<'a>(text: &'a str, kind: &str) -> &'a str {
    let end = text.find(&format!("</{kind}>"));
    &text[..end.unwrap_or(text.len())]
}

/// `Name(s job, …) → (…)`, or `Name (s)` of a property.
fn head(tag: &str, body: &str, kind: &str) -> String {
    let name = attribute(tag, "name");
    if kind == "property" {
        return format!("{name} ({})", attribute(tag, "type"));
    }
    let arguments = |direction: &str| {
        let all = body.split("<arg ").skip(1);
        let meant = all.filter(|arg| kind == "signal" || attribute(arg, "direction") == direction);
        let shown =
            meant.map(|arg| format!("{} {}", attribute(arg, "type"), attribute(arg, "name")));
        shown.collect::<Vec<_>>().join(", ")
    };
    let (given, answered) = (arguments("in"), arguments("out"));
    match kind {
        "method" if !answered.is_empty() => format!("{name}({given}) -> ({answered})"),
        _ => format!("{name}({given})"),
    }
}

/// The value of an attribute; empty where it is not there.
fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let value = tag.split_once(&format!("{name}=\""));
    value
        .and_then(|(_, after)| after.split('"').next())
        .unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
}
