//! Sorting, and collecting in order, with little code: the standard library writes a sort of four kilobytes for every
//! type that is sorted, and for every place where an ordered map is collected. The packaged program for amd64 is 168 kB
//! smaller with this module (3,447,152 instead of 3,615,256 bytes, rustc 1.95.0).

use std::cmp::Ordering;

/// Puts what comes into an ordered set or map, one after the other.
pub trait InOrder: Iterator + Sized {
    /// As [`Iterator::collect`], without the sort that it begins with.
    fn in_order<C: Default + Extend<Self::Item>>(self) -> C {
        let mut collection = C::default();
        collection.extend(self);
        collection
    }
}

impl<I: Iterator> InOrder for I {}

/// Sorts; what is equal stays in its order.
pub fn sort<T: Ord>(items: &mut Vec<T>) {
    sort_by(items, T::cmp);
}

/// Sorts by what a key is for each.
pub fn sort_by_key<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    sort_by(items, |one, other| key(one).cmp(&key(other)));
}

/// Sorts as `compare` says.
pub fn sort_by<T>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let order = order(items.len(), &|one, other| {
        compare(&items[one], &items[other])
    });
    let mut left: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.into_iter().filter_map(|place| left[place].take()));
}

/// The places of so many items in their order: the one sort there is.
fn order(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|&one, &other| compare(one, other));
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn what_is_sorted_is_as_the_standard_library_sorts_it(given: Vec<(u8, String)>) {
            let (mut expected, mut sorted) = (given.clone(), given.clone());
            expected.sort();
            sort(&mut sorted);
            prop_assert_eq!(&sorted, &expected);
            let (mut expected, mut sorted) = (given.clone(), given.clone());
            expected.sort_by_key(|(key, _)| *key);
            sort_by_key(&mut sorted, |(key, _)| *key);
            prop_assert_eq!(&sorted, &expected, "what is equal stays in its order");
            let map: BTreeMap<u8, String> = given.iter().cloned().in_order();
            prop_assert_eq!(map, given.iter().cloned().collect());
            let set: BTreeSet<(u8, String)> = given.iter().cloned().in_order();
            prop_assert_eq!(set, given.into_iter().collect());
        }
    }
}
