//! The messages between apt and its download methods, one on each line (`Debug::pkgAcquire::Worker`).

/// One message of the method interface, percent-encoded on one line: `http:201%20URI%20Done%0a…`.
pub struct Message {
    method: String,
    /// Its number and its name: `201 URI Done`.
    pub status: String,
    fields: Vec<(String, String)>,
}

impl Message {
    /// Reads it behind the arrow that apt prints.
    pub fn parse(text: &str) -> Self {
        let (method, message) = text.split_once(':').unwrap_or(("", text));
        let message = percent_decoded(message);
        let mut lines = message.lines();
        let status = lines.next().unwrap_or("").to_owned();
        let fields = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            method: method.to_owned(),
            status,
            fields,
        }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the method works on files that were fetched before.
    pub fn method_is_local(&self) -> bool {
        matches!(self.method.as_str(), "store" | "gpgv" | "sqv" | "rred")
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |c: &u8| {
            char::from(*c)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(high * 16 + low);
            rest = after;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
