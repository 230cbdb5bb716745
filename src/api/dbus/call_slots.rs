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
    /// The users of the callers by their names on the bus, each of which stands for one connection for as long as
    /// the bus runs; and these names in the order in which they came.
    users: BTreeMap<String, u32>,
    names: VecDeque<String>,
}

/// A call that is under way, until dropped.
#[derive(Debug)]
pub struct CallSlot<'a> {
    places: &'a CallSlots,
    user: Option<u32>,
}

impl CallSlots {
    /// A place for this call. The error is `LimitsExceeded` when the user, or all users together, have as many as
    /// there are.
    pub async fn take(&self, bus: &Connection, header: &Header<'_>) -> fdo::Result<CallSlot<'_>> {
        let sender = header.sender().ok_or_else(|| {
            fdo::Error::AccessDenied("the caller has no name on the bus".to_owned())
        })?;
        let known = self.taken().users.get(sender.as_str()).copied();
        if let Some(user) = known {
            self.taken().enter(Some(user))?;
            return Ok(CallSlot {
                places: self,
                user: known,
            });
        }
        // counted already while the bus is asked whose call it is
        self.taken().enter(None)?;
        let mut place = CallSlot {
            places: self,
            user: None,
        };
        let user: u32 = BUS
            .call(bus, "GetConnectionUnixUser", &(sender.as_str(),))
            .await
            .map_err(|error| {
                fdo::Error::AccessDenied(format!("the caller is not known: {error}"))
            })?;
        let mut taken = self.taken();
        taken.remember(sender.as_str(), user);
        taken.enter_of(user)?;
        place.user = Some(user);
        Ok(place)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallSlot<'_> {
    /// The user who calls.
    pub fn user(&self) -> u32 {
        self.user.unwrap_or(u32::MAX)
    }
}

impl Taken {
    fn enter(&mut self, user: Option<u32>) -> fdo::Result<()> {
        if self.total >= MAX_CALLS && user != Some(ROOT) {
            return Err(fdo::Error::LimitsExceeded(format!(
                "{MAX_CALLS} calls are under way already; call again later"
            )));
        }
        user.map_or(Ok(()), |user| self.enter_of(user))?;
        self.total += 1;
        Ok(())
    }

    fn enter_of(&mut self, user: u32) -> fdo::Result<()> {
        let count = self.of_user.entry(user).or_default();
        if *count >= MAX_OF_USER && user != ROOT {
            return Err(fdo::Error::LimitsExceeded(format!(
                "{MAX_OF_USER} calls of user {user} are under way already; call again when one has ended"
            )));
        }
        *count += 1;
        Ok(())
    }

    fn leave(&mut self, user: Option<u32>) {
        self.total = self.total.saturating_sub(1);
        let Some(user) = user else { return };
        let left = self
            .of_user
            .get(&user)
            .map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.of_user.remove(&user);
        } else {
            self.of_user.insert(user, left);
        }
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
                taken.enter(Some(user)).unwrap();
            }
        }
        let words = |error: fdo::Error| error.to_string();
        assert!(words(taken.enter(Some(1004)).unwrap_err()).contains("32 calls are under way"));
        taken.enter(Some(ROOT)).unwrap();
        taken.leave(Some(ROOT));
        taken.leave(Some(1003));
        taken.leave(Some(1003));
        let full = words(taken.enter(Some(1000)).unwrap_err());
        assert!(full.contains("8 calls of user 1000"), "{full}");
        taken.enter(Some(1004)).unwrap();
        assert_eq!((taken.total, taken.of_user.len()), (MAX_CALLS - 1, 5));
        // a call that is refused after the bus named its user is released as a call without a user
        taken.enter(None).unwrap();
        assert!(taken.enter_of(1000).is_err());
        taken.leave(None);
        assert_eq!(taken.total, MAX_CALLS - 1);
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
