//! A word out of a list to which later versions of the service may add.

use std::fmt;

use serde::Serialize;
use serde::de::value::Error;
use serde::de::{DeserializeOwned, IntoDeserializer};

/// The word, by its meaning where this version knows one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Serialize), serde(untagged))]
pub enum Word<T> {
    /// A word that this version knows.
    Known(T),
    /// Another word; empty where the answer has none.
    Other(String),
}

impl<T> Default for Word<T> {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

impl<T: DeserializeOwned> Word<T> {
    /// The word that stands in an answer.
    pub fn of(text: &str) -> Self {
        let known: Result<T, Error> = T::deserialize(text.into_deserializer());
        known.map_or_else(|_| Self::Other(text.to_owned()), Self::Known)
    }
}

impl<T: Serialize> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // the formatter of the standard library takes the word of an enum
            Self::Known(known) => known.serialize(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}
