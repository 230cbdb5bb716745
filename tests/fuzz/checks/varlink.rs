//! What a client may send over Varlink: a call means one thing, and what it asks for is a request.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::says_nothing_twice;
use super::request::{is_plain, names_packages};
use crate::api::varlink::interface::VarlinkError;
use crate::api::varlink::message::{self, Call, Messages, ReplyMode};
use crate::api::varlink::method::Method;
use crate::request::{JobId, Options, Request, Requester, Target};

/// The most bytes of an answer that says why there is none.
const MAX_REFUSAL: usize = 8 * 1024;

/// What one client sends, up to where it ends.
pub fn varlink(input: &[u8]) {
    let whole = messages(input, input.len().max(1));
    let size = input.first().map_or(1, |byte| 1 + usize::from(*byte % 16));
    assert_eq!(
        messages(input, size),
        whole,
        "it matters how the bytes arrive"
    );
    let (taken, partial) = whole;
    let mut sent: Vec<u8> = taken.iter().flat_map(|m| [m, &[0][..]].concat()).collect();
    let rest = &input[sent.len().min(input.len())..];
    assert_eq!(partial, !rest.is_empty());
    assert!(!rest.contains(&0), "a message is lost");
    sent.extend(rest);
    assert_eq!(sent, input);
    for message in &taken {
        match Call::parse(message) {
            Ok(call) => called(&call, message),
            Err(why) => refused(&VarlinkError::InvalidRequest(why)),
        }
    }
}

/// The messages of a stream that arrives in pieces of this size; whether another has begun.
fn messages(input: &[u8], size: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut messages, mut taken) = (Messages::default(), Vec::new());
    for piece in input.chunks(size) {
        messages.push(piece);
        while let Some(message) = messages.take().expect("a seed is not that large") {
            taken.push(message.to_vec());
        }
    }
    (taken, messages.is_partial())
}

fn called(call: &Call<'_>, message: &[u8]) {
    type Given = BTreeMap<String, Box<RawValue>>;
    let given: Given = serde_json::from_slice(message).expect("a call is an object");
    for key in given.keys() {
        let known = ["method", "parameters", "more", "oneway", "upgrade"];
        assert!(known.contains(&key.as_str()), "nobody looked at {key:?}");
    }
    let said: String = serde_json::from_str(given["method"].get()).expect("it was taken");
    assert_eq!(said, call.method);
    let flag = |name: &str| given.get(name).is_some_and(|raw| raw.get() == "true");
    let wanted = [
        (ReplyMode::More, flag("more")),
        (ReplyMode::Nothing, flag("oneway")),
        (ReplyMode::Upgrade, flag("upgrade")),
        (
            ReplyMode::Reply,
            !["more", "oneway", "upgrade"].into_iter().any(flag),
        ),
    ];
    assert!(
        wanted
            .iter()
            .all(|(wanted, said)| (call.wanted() == *wanted) == *said)
    );

    let method = match Method::of(call) {
        Ok(method) => method,
        Err(refusal) => return refused(&refusal),
    };
    says_nothing_twice(message);
    let parameters = given.get("parameters").map_or("null", |raw| raw.get());
    let parameters: Value = serde_json::from_str(parameters).expect("they were taken");
    answered(&message::reply(parameters.clone(), flag("more")));
    // `null` and what is not there are the same
    let parameters = without_null(&parameters);
    let names: &[&str] = match &method {
        Method::Info | Method::Health => &[],
        Method::Description(text) => {
            let name = parameters["interface"].as_str().expect("it was taken");
            assert!(text.contains(&format!("\ninterface {name}\n")));
            &["interface"]
        }
        Method::Job(id) | Method::Rollback(id) => {
            assert_eq!(parameters["job"], id.as_str());
            &["job"]
        }
        Method::Plan { packages } => {
            assert_eq!(parameters["packages"], serde_json::json!(packages));
            &["packages"]
        }
        Method::Apply { packages, options } => {
            assert_eq!(parameters["packages"], serde_json::json!(packages));
            let said = parameters
                .get("options")
                .map_or_else(Map::new, without_null);
            asked_for(packages, options, said);
            &["packages", "options"]
        }
    };
    for name in parameters.keys() {
        assert!(names.contains(&name.as_str()), "nobody looked at {name:?}");
    }
}

fn without_null(object: &Value) -> Map<String, Value> {
    let entries = object.as_object().into_iter().flatten();
    let given = entries.filter(|(_, value)| !value.is_null());
    given
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What may be asked for over Varlink is an entry that the worker takes, and it says the same.
fn asked_for(packages: &[String], options: &Options, said: Map<String, Value>) {
    let meant: Options = serde_json::from_value(said.into()).expect("options that were taken");
    assert_eq!(*options, meant);
    options.expect.keys().for_each(is_plain);
    let Ok(target) = Target::from_names(packages) else {
        return;
    };
    names_packages(&target);
    let requester = Requester::at("varlink", Some(1));
    let mut request = Request::apply(target, options.clone(), requester).expect("a request");
    request.id = "0000000000000000-000000".parse::<JobId>().expect("an id");
    let entry = serde_json::to_vec(&request).expect("a request can be written");
    let again = Request::parse(&request.id, &entry).expect("the worker takes it");
    assert_eq!(again, request);
}

/// The answer is small, whatever was sent.
fn refused(refusal: &VarlinkError) {
    let sent = refusal.message();
    assert!(sent.len() <= MAX_REFUSAL, "{} bytes", sent.len());
    let answer = answered(&sent);
    let name = answer["error"].as_str().expect("an error has a name");
    let ours = name.strip_prefix("org.linux-patch.Agent1.");
    let any = name.strip_prefix("org.varlink.service.");
    assert!(
        ours.or(any).is_some_and(|name| !name.contains('.')),
        "{name}"
    );
}

/// One message, whose end is its only NUL.
fn answered(sent: &[u8]) -> Value {
    let (end, message) = sent.split_last().expect("an answer is not empty");
    assert!(*end == 0 && !message.contains(&0));
    serde_json::from_slice(message).expect("an answer is JSON")
}
