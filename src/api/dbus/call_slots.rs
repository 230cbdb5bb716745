//! Limits the calls under way, for each user and in total. This bounds the memory of the service.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zbus::message::Header;
use zbus::{Connection, fdo};

use crate::host::bus::BUS;

/// The most calls of all users that are under way at a time; a call of 128 KiB is the largest that is read.
const MAX_CALLS: usize = 32;

/// The most calls of one user, so that it takes several users to keep another one out.
const MAX_OF_USER: usize = 8;

/// The most calls of callers whose user the bus is still asked for, which takes a moment: many connections that begin
/// at once must not keep another caller out. At 128 KiB each, they fit into the memory of the service.
const MAX_UNKNOWN: usize = 256;

/// Of how many callers the user is remembered.
const MAX_KNOWN: usize = 1024;

/// root, which may do everything and is never refused.
const ROOT: u32 = 0;

/// The calls that are under way.
#[derive(Debug, Default)]
pub struct CallSlots(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    of_user: BTreeMap<u32, usize>,
    /// The calls of callers whose user is not known yet, by the name of the caller; none of them is in `total`.
    unknown: BTreeMap<String, usize>,
    /// The users of the callers by their names on the bus, each of which stands for one connection for as long as
    /// the bus runs; and these names in the order in which they came.
    users: BTreeMap<String, u32>,
    names: VecDeque<String>,
}

/// A call that is under way, until dropped.
#[derive(Debug)]
pub struct CallSlot<'a> {
    places: &'a CallSlots,
    user: u32,
}

/// A call whose user the bus is asked for, until dropped.
struct Unknown<'a> {
    places: &'a CallSlots,
    sender: &'a str,
}

impl CallSlots {
    /// A place for this call. The error is `LimitsExceeded` when the user, or all users together, have as many as
    /// there are.
    pub async fn take(&self, bus: &Connection, header: &Header<'_>) -> fdo::Result<CallSlot<'_>> {
        let sender = header.sender().ok_or_else(|| {
            fdo::Error::AccessDenied("the caller has no name on the bus".to_owned())
        })?;
        let sender = sender.as_str();
        let known = self.taken().users.get(sender).copied();
        let user = match known {
            Some(user) => user,
            None => self.ask(bus, sender).await?,
        };
        self.taken().enter(user)?;
        Ok(CallSlot { places: self, user })
    }

    /// Asks the bus for the user of a caller.
    async fn ask(&self, bus: &Connection, sender: &str) -> fdo::Result<u32> {
        self.taken().enter_unknown(sender)?;
        let _unknown = Unknown {
            places: self,
            sender,
        };
        let user: u32 = BUS
            .call(bus, "GetConnectionUnixUser", &(sender,))
            .await
            .map_err(|error| {
                fdo::Error::AccessDenied(format!("the caller is not known: {error}"))
            })?;
        self.taken().remember(sender, user);
        Ok(user)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallSlot<'_> {
    /// The user who calls.
    pub fn user(&self) -> u32 {
        self.user
    }
}

impl Taken {
    fn enter(&mut self, user: u32) -> fdo::Result<()> {
        if self.total >= MAX_CALLS && user != ROOT {
            return Err(fdo::Error::LimitsExceeded(format!(
                "{MAX_CALLS} calls are under way already; call again later"
            )));
        }
        let count = self.of_user.entry(user).or_default();
        if *count >= MAX_OF_USER && user != ROOT {
            return Err(fdo::Error::LimitsExceeded(format!(
                "{MAX_OF_USER} calls of user {user} are under way already; call again when one has ended"
            )));
        }
        *count += 1;
        self.total += 1;
        Ok(())
    }

    fn enter_unknown(&mut self, sender: &str) -> fdo::Result<()> {
        let total: usize = self.unknown.values().sum();
        let count = self.unknown.get(sender).copied().unwrap_or_default();
        if total >= MAX_UNKNOWN || count >= MAX_OF_USER {
            return Err(fdo::Error::LimitsExceeded(
                "too many calls have come at once; call again later".to_owned(),
            ));
        }
        self.unknown.insert(sender.to_owned(), count + 1);
        Ok(())
    }

    fn leave(&mut self, user: u32) {
        self.total = self.total.saturating_sub(1);
        leave(&mut self.of_user, &user);
    }

    fn remember(&mut self, name: &str, user: u32) {
        if self.users.insert(name.to_owned(), user).is_some() {
            return;
        }
        self.names.push_back(name.to_owned());
        if self.names.len() > MAX_KNOWN
            && let Some(oldest) = self.names.pop_front()
        {
            self.users.remove(&oldest);
        }
    }
}

/// One call less; a caller that has none left is forgotten.
fn leave<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K) {
    match counts.get(key).copied() {
        Some(count) if count > 1 => {
            counts.insert(key.clone(), count - 1);
        }
        _ => {
            counts.remove(key);
        }
    }
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        leave(&mut self.places.taken().unknown, &self.sender.to_owned());
    }
}

impl Drop for CallSlot<'_> {
    fn drop(&mut self) {
        self.places.taken().leave(self.user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_has_a_part_and_root_has_no_limit() {
        let mut taken = Taken::default();
        for user in 1000..1004 {
            for _ in 0..MAX_OF_USER {
                taken.enter(user).unwrap();
            }
        }
        let words = |error: fdo::Error| error.to_string();
        assert!(words(taken.enter(1004).unwrap_err()).contains("32 calls are under way"));
        taken.enter(ROOT).unwrap();
        taken.leave(ROOT);
        taken.leave(1003);
        taken.leave(1003);
        let full = words(taken.enter(1000).unwrap_err());
        assert!(full.contains("8 calls of user 1000"), "{full}");
        taken.enter(1004).unwrap();
        assert_eq!((taken.total, taken.of_user.len()), (MAX_CALLS - 1, 5));
    }

    #[test]
    fn callers_that_are_not_known_yet_take_no_place_of_others() {
        let mut taken = Taken::default();
        for caller in 0..MAX_CALLS - 1 {
            let caller = format!(":1.{caller}");
            for _ in 0..MAX_OF_USER {
                taken.enter_unknown(&caller).unwrap();
            }
            assert!(taken.enter_unknown(&caller).is_err(), "one of many calls");
        }
        taken.enter_unknown(":1.99").unwrap();
        taken.enter(1000).unwrap();
        for _ in 0..MAX_OF_USER {
            leave(&mut taken.unknown, &":1.0".to_owned());
        }
        assert!(!taken.unknown.contains_key(":1.0"));
        taken.enter_unknown(":1.0").unwrap();
        assert_eq!(taken.total, 1);
    }

    #[test]
    fn only_the_latest_callers_are_remembered() {
        let mut taken = Taken::default();
        for number in 0..2 * MAX_KNOWN {
            taken.remember(&format!(":1.{number}"), 1000);
        }
        taken.remember(":1.2047", 1000);
        assert_eq!(
            (taken.users.len(), taken.names.len()),
            (MAX_KNOWN, MAX_KNOWN)
        );
        assert!(taken.users.contains_key(":1.2047") && !taken.users.contains_key(":1.0"));
    }
}
