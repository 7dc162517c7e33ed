//! Why a frame went where it went: the Rust side of the list in `shared.h`.

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// To the AF_XDP socket of its queue.
    ToWorkers,
    /// To the kernel.
    ToKernel,
    /// Nowhere.
    Drop,
}

macro_rules! reasons {
    ($($variant:ident, $way:ident, $name:literal, $text:literal;)*) => {
        /// Why a frame went its way. Every frame has exactly one reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $text] $variant,)* }

        impl Reason {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The counter's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The sentence for operators.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Where frames with this reason go.
            pub fn way(self) -> Way {
                match self { $(Self::$variant => Way::$way,)* }
            }
        }
    };
}

/// Made by build.rs from `shared.h`.
mod generated {
    use super::Way;

    include!(concat!(env!("OUT_DIR"), "/shared.rs"));
}

pub use generated::Reason;
pub(crate) use generated::{
    COUNTERS_MAX, HOST_ADDRESSES_MAX, PEERS_MAX, PREFIX_LENGTHS_MAX, SUBSCRIBER_PREFIXES_MAX,
};

const _: () = assert!(Reason::ALL.len() <= COUNTERS_MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_the_way() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            let prefix = match reason.way() {
                Way::ToWorkers => "xsk_",
                Way::ToKernel => "pass_",
                Way::Drop => "drop_",
            };
            assert!(reason.name().starts_with(prefix), "{}", reason.name());
            assert!(reason.explanation().ends_with('.'), "{}", reason.name());
            let same = Reason::ALL.iter().filter(|other| other.name() == reason.name()).count();
            assert_eq!(same, 1, "{}", reason.name());
        }
    }
}
