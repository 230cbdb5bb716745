//! Varlink messages: JSON objects, each ended by a NUL; calls in, replies out.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The most bytes of one message.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// Beyond this the buffer is given back once a large message is served.
const KEPT_BUFFER: usize = 64 * 1024;

/// Takes messages out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Messages {
    buffer: Vec<u8>,
    /// Where the first message begins that was not taken yet.
    start: usize,
    /// Up to where there is no NUL.
    seen: usize,
}

/// A message is larger than [`MAX_MESSAGE`]; nothing after it can be read.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Messages {
    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BUFFER);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, without its NUL.
    pub fn take(&mut self) -> Result<Option<&[u8]>, TooLarge> {
        let end = self.buffer[self.seen..].iter().position(|byte| *byte == 0);
        let end = end.map(|offset| self.seen + offset);
        self.seen = end.unwrap_or(self.buffer.len());
        if self.seen - self.start > MAX_MESSAGE {
            return Err(TooLarge);
        }
        let Some(end) = end else { return Ok(None) };
        let message = &self.buffer[self.start..end];
        self.start = end + 1;
        self.seen = self.start;
        Ok(Some(message))
    }

    /// Whether a message has begun and is not there yet.
    pub fn is_partial(&self) -> bool {
        self.buffer.len() > self.start
    }
}

/// A call, as it came; its parameters are not looked into yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call<'a> {
    /// The interface and the name of the method.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// What it is called with.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    #[serde(default)]
    more: Option<bool>,
    #[serde(default)]
    oneway: Option<bool>,
    #[serde(default)]
    upgrade: Option<bool>,
}

/// How a caller wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Once.
    Reply,
    /// As often as there is something to say.
    More,
    /// Not at all.
    Nothing,
    /// In another protocol, which no method of ours has.
    Upgrade,
}

impl<'a> Call<'a> {
    /// Parses a message; the error says what is wrong with it.
    pub fn parse(message: &'a [u8]) -> Result<Self, String> {
        // serde would take a list of the values, too
        if !message.trim_ascii_start().starts_with(b"{") {
            return Err("it is not an object".to_owned());
        }
        let call: Self = serde_json::from_slice(message).map_err(|error| error.to_string())?;
        let flags = [call.more, call.oneway, call.upgrade];
        if flags.iter().filter(|flag| **flag == Some(true)).count() > 1 {
            return Err("'more', 'oneway' and 'upgrade' exclude each other".to_owned());
        }
        Ok(call)
    }

    /// How the caller wants to be answered.
    pub fn wanted(&self) -> ReplyMode {
        match (self.more, self.oneway, self.upgrade) {
            (Some(true), ..) => ReplyMode::More,
            (_, Some(true), _) => ReplyMode::Nothing,
            (.., Some(true)) => ReplyMode::Upgrade,
            _ => ReplyMode::Reply,
        }
    }
}

/// A reply, ready to be sent; with `continues` another one follows.
pub fn reply(parameters: Value, continues: bool) -> Vec<u8> {
    let mut message = Map::new();
    message.insert("parameters".to_owned(), parameters);
    if continues {
        message.insert("continues".to_owned(), true.into());
    }
    bytes(message)
}

/// An error, ready to be sent.
pub fn error(name: &str, parameters: Value) -> Vec<u8> {
    let mut message = Map::new();
    message.insert("error".to_owned(), name.into());
    message.insert("parameters".to_owned(), parameters);
    bytes(message)
}

fn bytes(message: Map<String, Value>) -> Vec<u8> {
    // a NUL in a text is written as an escape, so the only one is the last
    let mut bytes = Value::Object(message).to_string().into_bytes();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn all(messages: &mut Messages) -> Result<Vec<Vec<u8>>, TooLarge> {
        let mut taken = Vec::new();
        while let Some(message) = messages.take()? {
            taken.push(message.to_vec());
        }
        Ok(taken)
    }

    #[test]
    fn a_message_of_the_largest_size_is_taken_and_a_larger_one_is_not() {
        let mut messages = Messages::default();
        messages.push(&vec![b' '; MAX_MESSAGE]);
        assert_eq!(messages.take(), Ok(None));
        messages.push(&[0]);
        assert_eq!(messages.take().unwrap().unwrap().len(), MAX_MESSAGE);
        messages.push(&vec![b' '; MAX_MESSAGE + 1]);
        assert_eq!(messages.take(), Err(TooLarge));
        let mut whole = Messages::default();
        whole.push(&[vec![b' '; MAX_MESSAGE + 1], vec![0]].concat());
        assert_eq!(whole.take(), Err(TooLarge));
    }

    #[test]
    fn a_call_is_parsed_strictly() {
        let wanted = |text: &str| Call::parse(text.as_bytes()).map(|call| call.wanted());
        assert_eq!(wanted(r#"{"method":"a.B"}"#), Ok(ReplyMode::Reply));
        assert_eq!(
            wanted(r#"{"method":"a.\u0042","parameters":null,"more":null,"oneway":false}"#),
            Ok(ReplyMode::Reply)
        );
        assert_eq!(
            wanted(r#"{"method":"a.B","more":true}"#),
            Ok(ReplyMode::More)
        );
        assert_eq!(
            wanted(r#"{"method":"a.B","oneway":true}"#),
            Ok(ReplyMode::Nothing)
        );
        assert_eq!(
            wanted(r#"{"method":"a.B","upgrade":true}"#),
            Ok(ReplyMode::Upgrade)
        );
        for bad in [
            "",
            "{}",
            "[]",
            r#"["a.B",null,null,null,null]"#,
            "null",
            r#"{"method":1}"#,
            r#"{"method":"a.B","root":true}"#,
            r#"{"method":"a.B","method":"a.C"}"#,
            r#"{"method":"a.B","more":1}"#,
            r#"{"method":"a.B","more":true,"oneway":true}"#,
            r#"{"method":"a.B","parameters":{"a":}}"#,
            r#"{"method":"a.B"} x"#,
            "{\"method\":\"\u{1}\"}",
        ] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
        assert!(Call::parse(b"{\"method\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_reply_has_one_nul_at_its_end() {
        let sent = reply(json!({"text": "a\0b"}), true);
        assert_eq!(
            sent.iter().position(|byte| *byte == 0),
            Some(sent.len() - 1)
        );
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            "{\"continues\":true,\"parameters\":{\"text\":\"a\\u0000b\"}}\0"
        );
        let sent = error("a.B", json!({}));
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            "{\"error\":\"a.B\",\"parameters\":{}}\0"
        );
    }

    proptest! {
        #[test]
        fn however_the_bytes_arrive_the_messages_are_the_same(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300),
            cuts in prop::collection::vec(1usize..40, 1..40),
        ) {
            let mut messages = Messages::default();
            let (mut taken, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = (*cuts.next().unwrap()).min(rest.len());
                messages.push(&rest[..cut]);
                rest = &rest[cut..];
                taken.extend(all(&mut messages).unwrap());
            }
            let mut expected: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            let partial = expected.pop().unwrap();
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(messages.is_partial(), !partial.is_empty());
        }

        #[test]
        fn no_bytes_are_too_much_for_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Call::parse(&bytes);
        }

        #[test]
        fn no_text_is_too_much_for_the_parser(text in "[\\[{\"method:,}\\]\\\\u0-9a-z.]{0,80}") {
            let _ = Call::parse(text.as_bytes());
        }
    }
}
