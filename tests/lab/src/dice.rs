//! Numbers drawn from a seed: what a test does by chance, it does again for the same seed.

/// A generator of numbers (splitmix64, Steele and others 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// One for each of the actors of a test, so that what one draws moves no other's numbers.
    pub fn of_actor(seed: u64, actor: u64) -> Self {
        let mut dice = Self(seed ^ actor.wrapping_mul(0xd6e8_feb8_6659_fd93));
        dice.next();
        dice
    }

    /// From a seed alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    #[allow(clippy::should_implement_trait)] // it never ends, and is no iterator
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One of these, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, items: &[(usize, T)]) -> T {
        let mut number = self.below(items.iter().map(|(weight, _)| weight).sum());
        for (weight, item) in items {
            if number < *weight {
                return *item;
            }
            number -= weight;
        }
        unreachable!("the number is below the sum of the weights")
    }

    /// Puts them into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_and_another_one_others() {
        let draw = |mut dice: Dice| (0..8).map(|_| dice.next()).collect::<Vec<_>>();
        assert_eq!(draw(Dice::new(1)), draw(Dice::new(1)));
        assert_ne!(draw(Dice::new(1)), draw(Dice::new(2)));
        assert_ne!(draw(Dice::of_actor(1, 0)), draw(Dice::of_actor(1, 1)));
        assert_ne!(draw(Dice::of_actor(1, 0)), draw(Dice::of_actor(2, 0)));
    }

    #[test]
    fn weights_are_kept_to() {
        let mut dice = Dice::new(7);
        let drawn: Vec<char> = (0..1000)
            .map(|_| dice.weighted(&[(90, 'a'), (10, 'b'), (0, 'c')]))
            .collect();
        let count = |letter| drawn.iter().filter(|drawn| **drawn == letter).count();
        assert!((850..950).contains(&count('a')) && count('c') == 0);
        let chances = (0..1000).filter(|_| dice.chance(10)).count();
        assert!((60..140).contains(&chances));
    }
}
