//! Builds our rpm from this checkout, unless that has been done already, and prints where it is.

fn main() {
    println!("{}", lab::product::rpm().display());
}
