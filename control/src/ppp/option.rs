//! Configuration options as lists of type, length, data, and the reply to a list of them
//! (RFC 1661 sections 5.1 to 5.4 and 6). What the types mean is for the protocols to say.

use std::net::Ipv4Addr;

/// The most options in one packet; the largest request known from a real peer has nine.
pub const OPTIONS_MAX: usize = 64;

/// Octets of an option's Type and Length fields.
const OPTION_HEADER_OCTETS: usize = 2;

/// Why a list of options is none. The packet it came in is discarded whole (RFC 1661 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A Length field below two, or past the end of the packet.
    #[error("option length does not fit the packet")]
    Length,
    /// More than [`OPTIONS_MAX`].
    #[error("too many options")]
    TooMany,
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawOption<'a> {
    /// The Type field.
    pub kind: u8,
    /// The Data field.
    pub data: &'a [u8],
}

/// A list of options in which every length is known to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    octets: &'a [u8],
}

impl<'a> Options<'a> {
    /// Proves the lengths of a list.
    ///
    /// # Errors
    /// When a length does not fit, or the list is too long.
    pub fn parse(octets: &'a [u8]) -> Result<Self, OptionError> {
        let mut rest = octets;
        let mut count = 0;
        while !rest.is_empty() {
            (_, rest) = split_first(rest).ok_or(OptionError::Length)?;
            count += 1;
            if count > OPTIONS_MAX {
                return Err(OptionError::TooMany);
            }
        }
        Ok(Self { octets })
    }

    /// The options in order.
    pub fn iter(&self) -> impl Iterator<Item = RawOption<'a>> + use<'a> {
        let mut rest = self.octets;
        std::iter::from_fn(move || {
            let (option, after) = split_first(rest)?;
            rest = after;
            Some(option)
        })
    }

    /// The first option of each type, in order.
    pub fn first_of_each(&self) -> impl Iterator<Item = RawOption<'a>> + use<'a> {
        let mut seen = Seen::default();
        self.iter().filter(move |option| seen.insert(option.kind))
    }

    /// The list as it is on the wire.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }
}

fn split_first(octets: &[u8]) -> Option<(RawOption<'_>, &[u8])> {
    let &[kind, length, ..] = octets else { return None };
    let (option, rest) = octets.split_at_checked(usize::from(length))?;
    let data = option.get(OPTION_HEADER_OCTETS..)?;
    Some((RawOption { kind, data }, rest))
}

/// A list of options to send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionList {
    octets: Vec<u8>,
}

impl OptionList {
    /// Adds an option at the end. Data past 253 octets, what a length octet can count, are cut off;
    /// no option of ours comes near.
    pub fn push(&mut self, kind: u8, data: &[u8]) {
        let data = data.get(..253).unwrap_or(data);
        let length = u8::try_from(OPTION_HEADER_OCTETS + data.len()).unwrap_or(u8::MAX);
        self.octets.extend_from_slice(&[kind, length]);
        self.octets.extend_from_slice(data);
    }

    /// The list as it goes on the wire.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// The longest value that a Nak suggests: an interface identifier of IPv6CP.
const VALUE_OCTETS_MAX: usize = 8;

/// A short value for an option's Data field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    octets: [u8; VALUE_OCTETS_MAX],
    length: u8,
}

impl Value {
    /// The value's octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or(&self.octets)
    }

    /// The first octets of a slice, as many as there is room for.
    pub fn from_slice(slice: &[u8]) -> Self {
        let mut octets = [0; VALUE_OCTETS_MAX];
        let mut length = 0;
        for (target, source) in octets.iter_mut().zip(slice) {
            *target = *source;
            length += 1;
        }
        Self { octets, length }
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::from_slice(&value.to_be_bytes())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::from_slice(&value.to_be_bytes())
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::from_slice(&value.to_be_bytes())
    }
}

impl From<Ipv4Addr> for Value {
    fn from(value: Ipv4Addr) -> Self {
        Self::from_slice(&value.octets())
    }
}

/// What one option of a peer's Configure-Request deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Acceptable as it is.
    Ack,
    /// Negotiable, but with this value.
    Nak(Value),
    /// Not known or not negotiable.
    Reject,
}

/// The reply to a whole Configure-Request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Configure-Ack with the options as they came.
    Ack,
    /// Configure-Nak with these options.
    Nak(OptionList),
    /// Configure-Reject with these options.
    Reject(OptionList),
}

/// Makes the reply to `request` out of a verdict per option.
///
/// Rejects come before Naks and both keep the order of the request (RFC 1661 sections 5.3, 5.4). A
/// second instance of an option is rejected: no option that we know may be listed twice (section 6).
/// `wanted` options that the request lacks are appended to a Nak to prompt the peer (section 5.3).
/// With `naks_exhausted` Naks become Rejects and nothing is appended (section 4.6, Max-Failure).
pub fn assemble(
    request: &Options<'_>,
    wanted: &[(u8, Value)],
    naks_exhausted: bool,
    mut judge: impl FnMut(RawOption<'_>) -> Verdict,
) -> Reply {
    let mut naks = OptionList::default();
    let mut rejects = OptionList::default();
    let mut seen = Seen::default();
    for option in request.iter() {
        let verdict = if seen.insert(option.kind) { judge(option) } else { Verdict::Reject };
        match verdict {
            Verdict::Ack => {}
            Verdict::Nak(value) if !naks_exhausted => naks.push(option.kind, value.octets()),
            Verdict::Nak(_) | Verdict::Reject => rejects.push(option.kind, option.data),
        }
    }
    if !naks_exhausted {
        for (kind, value) in wanted {
            if seen.insert(*kind) {
                naks.push(*kind, value.octets());
            }
        }
    }
    if !rejects.octets().is_empty() {
        Reply::Reject(rejects)
    } else if !naks.octets().is_empty() {
        Reply::Nak(naks)
    } else {
        Reply::Ack
    }
}

/// The option types met so far, a bit each.
#[derive(Default)]
struct Seen {
    low: u128,
    high: u128,
}

impl Seen {
    /// Whether `kind` is new.
    fn insert(&mut self, kind: u8) -> bool {
        let half = if kind < 128 { &mut self.low } else { &mut self.high };
        let bit = 1_u128 << (kind & 127);
        let new = *half & bit == 0;
        *half |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(options: &[(u8, &[u8])]) -> OptionList {
        let mut list = OptionList::default();
        for (kind, data) in options {
            list.push(*kind, data);
        }
        list
    }

    #[test]
    fn options_come_out_in_order() {
        let octets = [1, 4, 0x05, 0x78, 7, 2, 5, 6, 1, 2, 3, 4];
        let options: Vec<_> = Options::parse(&octets).unwrap().iter().collect();
        assert_eq!(
            options,
            [
                RawOption { kind: 1, data: &[0x05, 0x78] },
                RawOption { kind: 7, data: &[] },
                RawOption { kind: 5, data: &[1, 2, 3, 4] },
            ]
        );
        assert_eq!(Options::parse(&[]).unwrap().iter().count(), 0);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for octets in [&[1][..], &[1, 0], &[1, 1], &[1, 3], &[7, 2, 1, 4, 5], &[1, 255, 0]] {
            assert_eq!(Options::parse(octets), Err(OptionError::Length), "{octets:?}");
        }
    }

    #[test]
    fn the_count_is_bounded() {
        assert_eq!(
            Options::parse(&[7, 2].repeat(OPTIONS_MAX)).unwrap().iter().count(),
            OPTIONS_MAX
        );
        assert_eq!(Options::parse(&[7, 2].repeat(OPTIONS_MAX + 1)), Err(OptionError::TooMany));
    }

    #[test]
    fn all_acceptable_is_an_ack() {
        let request = list(&[(1, &[5, 120]), (7, &[])]);
        let reply =
            assemble(&Options::parse(request.octets()).unwrap(), &[], false, |_| Verdict::Ack);
        assert_eq!(reply, Reply::Ack);
    }

    #[test]
    fn rejects_leave_naks_for_later_and_keep_the_order() {
        let request = list(&[(13, &[6]), (1, &[0, 1]), (17, &[6, 78]), (19, &[1, 2, 3])]);
        let reply = assemble(&Options::parse(request.octets()).unwrap(), &[], false, |option| {
            if option.kind == 1 { Verdict::Nak(Value::from(576_u16)) } else { Verdict::Reject }
        });
        assert_eq!(reply, Reply::Reject(list(&[(13, &[6]), (17, &[6, 78]), (19, &[1, 2, 3])])));
    }

    #[test]
    fn naks_carry_the_suggested_value_and_what_is_missing() {
        let address = Ipv4Addr::new(100, 64, 0, 1);
        let request = list(&[(129, &[0, 0, 0, 0])]);
        let options = Options::parse(request.octets()).unwrap();
        let wanted = [(3, Value::from(address)), (129, Value::from(address))];
        let dns = Value::from(Ipv4Addr::new(9, 9, 9, 9));
        let reply = assemble(&options, &wanted, false, |_| Verdict::Nak(dns));
        assert_eq!(reply, Reply::Nak(list(&[(129, &[9, 9, 9, 9]), (3, &[100, 64, 0, 1])])));
    }

    #[test]
    fn exhausted_naks_become_rejects_and_nothing_is_appended() {
        let request = list(&[(3, &[10, 0, 0, 1])]);
        let options = Options::parse(request.octets()).unwrap();
        let wanted = [(129, Value::from(1_u32))];
        let nak = Verdict::Nak(Value::from(2_u32));
        assert_eq!(
            assemble(&options, &wanted, true, |_| nak),
            Reply::Reject(list(&[(3, &[10, 0, 0, 1])]))
        );
        assert_eq!(assemble(&options, &wanted, true, |_| Verdict::Ack), Reply::Ack);
    }

    #[test]
    fn a_second_instance_is_rejected() {
        let request = list(&[(5, &[0, 0, 0, 1]), (5, &[0, 0, 0, 2])]);
        let options = Options::parse(request.octets()).unwrap();
        assert_eq!(
            assemble(&options, &[], false, |_| Verdict::Ack),
            Reply::Reject(list(&[(5, &[0, 0, 0, 2])]))
        );
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(options) = Options::parse(&octets) {
                let mut again = OptionList::default();
                for option in options.iter() {
                    again.push(option.kind, option.data);
                }
                prop_assert_eq!(again.octets(), &octets[..]);
            }
        }

        #[test]
        fn round_trip(
            options in proptest::collection::vec(
                (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..=253)),
                0..OPTIONS_MAX,
            ),
        ) {
            let mut list = OptionList::default();
            for (kind, data) in &options {
                list.push(*kind, data);
            }
            let parsed: Vec<_> = Options::parse(list.octets())
                .unwrap()
                .iter()
                .map(|option| (option.kind, option.data.to_vec()))
                .collect();
            prop_assert_eq!(parsed, options);
        }

        /// Whatever is refused is a part of the request, in its order.
        #[test]
        fn a_reject_is_a_subsequence(kinds in proptest::collection::vec(any::<u8>(), 0..30), mask: u32) {
            let mut list = OptionList::default();
            for (index, kind) in kinds.iter().enumerate() {
                list.push(*kind, &[index as u8]);
            }
            let options = Options::parse(list.octets()).unwrap();
            let reply = assemble(&options, &[], false, |option| {
                if mask >> option.data[0] & 1 == 1 { Verdict::Reject } else { Verdict::Ack }
            });
            if let Reply::Reject(rejects) = reply {
                let rejects = Options::parse(rejects.octets()).unwrap();
                let mut rest = options.iter();
                for rejected in rejects.iter() {
                    prop_assert!(rest.any(|option| option == rejected));
                }
            }
        }
    }
}
