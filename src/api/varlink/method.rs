//! Calls to methods: what may be called, with which parameters; pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::interface::{
    DESCRIPTION, INTERFACE, SERVICE, SERVICE_DESCRIPTION, VarlinkError, invalid,
};
use super::message::Call;
use crate::request::{
    JobId, Key, MAX_ENTRY_BYTES, OPTION_KEYS, Options, PackageName, RebootPolicy, RestartPolicy,
    Version, each_once,
};

/// A method with its parameters.
#[derive(Debug, PartialEq)]
pub enum Method {
    /// Who we are.
    Info,
    /// The text of an interface.
    Description(&'static str),
    /// Apply updates.
    Apply {
        /// Names, as they were given.
        packages: Vec<String>,
        /// The options of the request.
        options: Options,
    },
    /// What an apply would do.
    Plan {
        /// Names, as they were given.
        packages: Vec<String>,
    },
    /// Undo what a job has changed.
    Rollback(JobId),
    /// The whole picture.
    Health,
    /// How a job stands.
    Job(JobId),
}

impl Method {
    /// The method that is called.
    pub fn of(call: &Call<'_>) -> Result<Self, VarlinkError> {
        let (interface, name) = call.method.rsplit_once('.').unwrap_or(("", &call.method));
        match (interface, name) {
            (SERVICE, "GetInfo") => call.parameters([]).map(|[]| Self::Info),
            (SERVICE, "GetInterfaceDescription") => {
                let [interface] = call.parameters(["interface"])?;
                match required::<String>("interface", interface)?.as_str() {
                    SERVICE => Ok(Self::Description(SERVICE_DESCRIPTION)),
                    INTERFACE => Ok(Self::Description(DESCRIPTION)),
                    other => Err(VarlinkError::InterfaceNotFound(cut(other))),
                }
            }
            (INTERFACE, "Apply") => {
                let [packages, options] = call.parameters(["packages", "options"])?;
                Ok(Self::Apply {
                    packages: required("packages", packages)?,
                    options: options.map_or(Ok(Options::default()), read_options)?,
                })
            }
            (INTERFACE, "Plan") => {
                let [packages] = call.parameters(["packages"])?;
                let packages = required("packages", packages)?;
                Ok(Self::Plan { packages })
            }
            (INTERFACE, "Rollback") => {
                let [job] = call.parameters(["job"])?;
                let id = required::<String>("job", job)?.parse();
                Ok(Self::Rollback(id.map_err(|error| invalid(&error))?))
            }
            (INTERFACE, "GetHealth") => call.parameters([]).map(|[]| Self::Health),
            (INTERFACE, "GetJob") => {
                let [job] = call.parameters(["job"])?;
                let id = required::<String>("job", job)?.parse();
                Ok(Self::Job(id.map_err(|error| invalid(&error))?))
            }
            (SERVICE | INTERFACE, _) => Err(VarlinkError::MethodNotFound(cut(&call.method))),
            _ => Err(VarlinkError::InterfaceNotFound(cut(interface))),
        }
    }
}

impl<'a> Call<'a> {
    /// The values of the parameters of these names; `None` for one that is missing or null. One that
    /// is not known is an error: what the caller meant by it must not be guessed.
    fn parameters<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<&'a RawValue>; N], VarlinkError> {
        match self.parameters {
            None => Ok([None; N]),
            Some(raw) if raw.get().len() as u64 > MAX_ENTRY_BYTES => {
                Err(VarlinkError::InvalidRequest(format!(
                    "the parameters are larger than {MAX_ENTRY_BYTES} bytes, more than a request can have"
                )))
            }
            Some(raw) => fields(raw, "parameters", "", names),
        }
    }
}

/// The values of an object's fields; `whole` is what it is called, `prefix` goes before their names.
fn fields<'a, const N: usize>(
    raw: &'a RawValue,
    whole: &str,
    prefix: &str,
    names: [&str; N],
) -> Result<[Option<&'a RawValue>; N], VarlinkError> {
    let Ok(Fields(given)) = serde_json::from_slice(raw.get().as_bytes()) else {
        return Err(VarlinkError::InvalidParameter(whole.to_owned()));
    };
    let mut values = [None; N];
    let mut seen = [false; N];
    for (name, value) in given {
        match names.iter().position(|known| *known == name) {
            Some(index) if !seen[index] => {
                seen[index] = true;
                values[index] = (value.get() != "null").then_some(value);
            }
            _ => {
                return Err(VarlinkError::InvalidParameter(cut(&format!(
                    "{prefix}{name}"
                ))));
            }
        }
    }
    Ok(values)
}

fn required<T: DeserializeOwned>(name: &str, value: Option<&RawValue>) -> Result<T, VarlinkError> {
    let value = value.and_then(|raw| serde_json::from_slice(raw.get().as_bytes()).ok());
    value.ok_or_else(|| VarlinkError::InvalidParameter(name.to_owned()))
}

fn read_options(raw: &RawValue) -> Result<Options, VarlinkError> {
    let [wait, expect, unmodified, key, reboot, restart] =
        fields(raw, "options", "options.", OPTION_KEYS)?;
    Ok(Options {
        wait_for_network: option::<bool>("wait_for_network", wait)?.unwrap_or_default(),
        expect: option::<Expected>("expect", expect)?.map_or_else(BTreeMap::new, |given| given.0),
        if_unmodified_since: option::<DateTime<Utc>>("if_unmodified_since", unmodified)?,
        idempotency_key: option::<Key>("idempotency_key", key)?,
        reboot: option::<RebootPolicy>("reboot", reboot)?,
        restart: option::<RestartPolicy>("restart", restart)?,
    })
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Expected(#[serde(deserialize_with = "each_once")] BTreeMap<PackageName, Version>);

/// An option's value is a thing of ours, of which more can be wrong than its type.
fn option<T: DeserializeOwned>(
    name: &str,
    raw: Option<&RawValue>,
) -> Result<Option<T>, VarlinkError> {
    raw.map(|raw| serde_json::from_slice(raw.get().as_bytes()))
        .transpose()
        .map_err(|error| VarlinkError::InvalidRequest(format!("the option {name}: {error}")))
}

/// A name of the caller's, for an answer.
fn cut(name: &str) -> String {
    name.chars().take(128).collect()
}

/// An object whose values are not looked into; as many as any method has, and not more.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

const MAX_FIELDS: usize = 16;

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    if pairs.len() == MAX_FIELDS {
                        return Err(A::Error::custom("too many fields"));
                    }
                    pairs.push((name.0, value));
                }
                Ok(Fields(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A field's name, which needs no copy unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn method(name: &str, parameters: &str) -> Result<Method, VarlinkError> {
        let text = format!(r#"{{"method":"{name}","parameters":{parameters}}}"#);
        Method::of(&Call::parse(text.as_bytes()).unwrap())
    }

    fn ours(name: &str, parameters: &str) -> Result<Method, VarlinkError> {
        method(&format!("{INTERFACE}.{name}"), parameters)
    }

    #[test]
    fn methods_are_told_by_their_names() {
        assert_eq!(
            method("org.varlink.service.GetInfo", "{}"),
            Ok(Method::Info)
        );
        let described = |interface: &str| {
            let parameters = format!(r#"{{"interface":"{interface}"}}"#);
            method("org.varlink.service.GetInterfaceDescription", &parameters)
        };
        for interface in [SERVICE, INTERFACE] {
            let Ok(Method::Description(text)) = described(interface) else {
                panic!("{interface} is not described")
            };
            assert!(text.contains(&format!("\ninterface {interface}\n")));
        }
        assert_eq!(
            described("a.b"),
            Err(VarlinkError::InterfaceNotFound("a.b".into()))
        );
        assert_eq!(ours("GetHealth", "null"), Ok(Method::Health));
        let id = JobId::new().unwrap();
        assert_eq!(
            ours("GetJob", &format!(r#"{{"job":"{id}"}}"#)),
            Ok(Method::Job(id))
        );
        let unknown = format!("{INTERFACE}.Reboot");
        assert_eq!(
            ours("Reboot", "{}"),
            Err(VarlinkError::MethodNotFound(unknown))
        );
        assert_eq!(
            method("a.b.C", "{}"),
            Err(VarlinkError::InterfaceNotFound("a.b".into()))
        );
        assert_eq!(
            method("", "{}"),
            Err(VarlinkError::InterfaceNotFound(String::new()))
        );
    }

    #[test]
    fn an_apply_takes_its_options_and_no_others() {
        let apply = |parameters: &str| ours("Apply", parameters);
        let plain = Method::Apply {
            packages: vec!["demo".into()],
            options: Options::default(),
        };
        assert_eq!(apply(r#"{"packages":["demo"]}"#).unwrap(), plain);
        assert_eq!(
            apply(r#"{"options":null,"packages":["demo"]}"#).unwrap(),
            plain
        );
        let empty = r#"{"wait_for_network":null,"expect":null,"idempotency_key":null}"#;
        assert_eq!(
            apply(&format!(r#"{{"packages":["demo"],"options":{empty}}}"#)).unwrap(),
            plain
        );
        let full = r#"{"packages":["demo"],"options":{"wait_for_network":true,
            "expect":{"demo":"1.0"},"if_unmodified_since":"2026-01-02T03:04:05Z","idempotency_key":"k"}}"#;
        let Ok(Method::Apply { options, .. }) = apply(full) else {
            panic!("not an apply")
        };
        assert!(options.wait_for_network && options.has_precondition());

        let wrong = |name: &str| Err(VarlinkError::InvalidParameter(name.into()));
        assert_eq!(apply("{}"), wrong("packages"));
        assert_eq!(apply("null"), wrong("packages"));
        assert_eq!(apply("[]"), wrong("parameters"));
        assert_eq!(apply(r#"{"packages":"demo"}"#), wrong("packages"));
        assert_eq!(apply(r#"{"packages":[1]}"#), wrong("packages"));
        assert_eq!(apply(r#"{"packages":["a"],"root":1}"#), wrong("root"));
        assert_eq!(
            apply(r#"{"packages":["a"],"packages":["b"]}"#),
            wrong("packages")
        );
        assert_eq!(
            apply(r#"{"packages":["a"],"options":[]}"#),
            wrong("options")
        );
        assert_eq!(
            apply(r#"{"packages":["a"],"options":{"force":true}}"#),
            wrong("options.force")
        );
        assert!(matches!(
            apply(r#"{"packages":["a"],"options":{"expect":{"a-":"1"}}}"#),
            Err(VarlinkError::InvalidRequest(_))
        ));
        let long = format!(r#"{{"packages":["{}"]}}"#, "a".repeat(70_000));
        assert!(matches!(apply(&long), Err(VarlinkError::InvalidRequest(_))));
        assert_eq!(ours("GetHealth", r#"{"a":1}"#), wrong("a"));
        assert!(matches!(
            ours("GetJob", r#"{"job":"x"}"#),
            Err(VarlinkError::InvalidRequest(_))
        ));
    }

    proptest! {
        #[test]
        fn no_parameters_are_too_much(
            name in prop_oneof![Just("Apply"), Just("Plan"), Just("Rollback"), Just("GetJob"), Just("GetHealth")],
            text in "(\\{|\\[|\"packages\":|\"options\":|\"job\":|\\[\"a\"\\]|\"\\\\u0000\"|null|1e400|,|\\]|\\}){0,12}",
        ) {
            let call = format!(r#"{{"method":"{INTERFACE}.{name}","parameters":{text}}}"#);
            if let Ok(call) = Call::parse(call.as_bytes())
                && let Err(refusal) = Method::of(&call)
            {
                prop_assert!(refusal.message().len() < 1000);
            }
        }
    }
}
