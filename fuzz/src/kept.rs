//! What is made once and serves one input after the other, because making it is most of the work.

use std::cell::RefCell;
use std::thread::LocalKey;

/// One thread's, while no input uses it.
pub type Kept<T> = RefCell<Option<T>>;

/// Runs `input` with what is kept, or with a new one. Where it panics nothing is kept: the next input
/// does not suffer from what this one has left half done.
pub fn with<T>(kept: &'static LocalKey<Kept<T>>, new: fn() -> T, input: impl FnOnce(&mut T)) {
    let mut world = kept.take().unwrap_or_else(new);
    input(&mut world);
    kept.set(Some(world));
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static NUMBER: Kept<u32> = const { RefCell::new(None) };
    }

    #[test]
    fn kept_unless_an_input_panics() {
        let add = |number: &mut u32| *number += 1;
        with(&NUMBER, || 7, add);
        with(&NUMBER, || 7, add);
        assert_eq!(NUMBER.take(), Some(9));
        NUMBER.set(Some(9));
        let broken = std::panic::catch_unwind(|| with(&NUMBER, || 7, |_| panic!("broken")));
        assert!(broken.is_err() && NUMBER.take().is_none());
    }
}
