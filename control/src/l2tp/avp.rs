//! Attribute value pairs (RFC 2661 sections 4.1 to 4.3).
//!
//! What a message may hold is known by one table, [`CATALOGUE`]. Decoding collects a message's
//! AVPs by their place in it, with lengths checked, hidden ones revealed and unknown ones
//! judged by their M bit, so that a message's own code only picks values.

use super::result::ErrorCode;
use super::secret::{self, SecretBytes};

mod catalogue;

use catalogue::lookup;
pub use catalogue::{Attribute, CATALOGUE, Entry};

/// Octets of an AVP before its value.
pub const AVP_HEADER_BYTES: usize = 6;
/// Longest value: the Length field has ten bits.
pub const VALUE_BYTES_MAX: usize = 0x3ff - AVP_HEADER_BYTES;
/// AVPs in one message: the largest legitimate one (an ICCN with proxied LCP and access line
/// attributes) has about sixty; more is work that a peer makes for us.
pub const AVPS_MAX: usize = 128;

const MANDATORY: u16 = 0x8000;
const HIDDEN: u16 = 0x4000;
const RESERVED: u16 = 0x3c00;
const LENGTH: u16 = 0x03ff;

/// An AVP as it stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avp<'a> {
    /// The M bit.
    pub mandatory: bool,
    /// The H bit: the value is covered.
    pub hidden: bool,
    /// Whether a reserved bit was set; then it counts as unknown (RFC 2661 section 4.1).
    pub reserved: bool,
    /// Vendor ID.
    pub vendor: u16,
    /// Attribute Type.
    pub number: u16,
    /// Attribute Value.
    pub value: &'a [u8],
}

/// What is wrong with a message, and so with the tunnel or call that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Result code: 2 (general error) but for a wrong protocol version.
    pub code: u16,
    /// Error code.
    pub error: ErrorCode,
    /// For a person to read.
    pub text: String,
}

impl Fault {
    /// A general error, result code 2 in StopCCN as in CDN.
    pub fn new(error: ErrorCode, text: String) -> Self {
        Self { code: 2, error, text }
    }

    fn about(error: ErrorCode, what: &str, entry: &Entry) -> Self {
        Self::new(error, format!("{what}: {} AVP ({})", entry.name, entry.number))
    }
}

/// Walks over the AVPs of a message; ends after the first that does not fit.
#[derive(Debug, Clone)]
pub struct Avps<'a> {
    rest: &'a [u8],
}

impl<'a> Avps<'a> {
    /// Starts at a control message's payload.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn split(&mut self) -> Result<Avp<'a>, Fault> {
        let rest = std::mem::take(&mut self.rest);
        let header = rest.first_chunk::<AVP_HEADER_BYTES>().ok_or_else(|| {
            Fault::new(ErrorCode::Length, "the message ends within an AVP's header".into())
        })?;
        let [f0, f1, v0, v1, n0, n1] = *header;
        let flags = u16::from_be_bytes([f0, f1]);
        let vendor = u16::from_be_bytes([v0, v1]);
        let number = u16::from_be_bytes([n0, n1]);
        let length = usize::from(flags & LENGTH);
        let Some(value) = rest.get(AVP_HEADER_BYTES..length) else {
            let what = if length < AVP_HEADER_BYTES { "under 6" } else { "past the end" };
            let text = format!("length {length} of AVP {vendor}/{number} is {what}");
            return Err(Fault::new(ErrorCode::Length, text));
        };
        self.rest = rest.get(length..).unwrap_or_default();
        Ok(Avp {
            mandatory: flags & MANDATORY != 0,
            hidden: flags & HIDDEN != 0,
            reserved: flags & RESERVED != 0,
            vendor,
            number,
            value,
        })
    }
}

impl<'a> Iterator for Avps<'a> {
    type Item = Result<Avp<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.split())
    }
}

/// A value, read in place or revealed.
#[derive(Debug)]
enum Value<'a> {
    Plain(&'a [u8]),
    Revealed(SecretBytes),
}

/// The AVPs of one message by attribute, and the first thing wrong with them.
#[derive(Debug)]
pub struct Collected<'a> {
    values: [Option<Value<'a>>; CATALOGUE.len()],
    fault: Option<Fault>,
}

impl<'a> Collected<'a> {
    /// Collects all that can be read, also behind a fault, as even a refusal needs to know whom
    /// to address.
    pub fn new(avps: Avps<'a>, secret: Option<&[u8]>) -> Self {
        let mut collected = Self { values: [const { None }; CATALOGUE.len()], fault: None };
        let mut random_vector = None;
        for (count, avp) in avps.enumerate() {
            if count == AVPS_MAX {
                let text = format!("more than {AVPS_MAX} AVPs");
                collected.note(Fault::new(ErrorCode::Resources, text));
                break;
            }
            if let Err(fault) =
                avp.and_then(|avp| collected.insert(avp, secret, &mut random_vector))
            {
                collected.note(fault);
            }
        }
        collected
    }

    fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// The first thing wrong.
    pub fn fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Takes an AVP in. Without the M bit, one that is not understood or malformed is as if it
    /// were not there (RFC 2661 sections 4.1 and 7.1).
    fn insert(
        &mut self,
        avp: Avp<'a>,
        secret: Option<&[u8]>,
        random_vector: &mut Option<&'a [u8]>,
    ) -> Result<(), Fault> {
        let known = lookup(avp.vendor, avp.number).filter(|_| !avp.reserved);
        let Some(entry) = known else {
            let text = format!("unknown mandatory AVP, vendor {} type {}", avp.vendor, avp.number);
            return recoverable(avp, Fault::new(ErrorCode::UnknownAvp, text));
        };
        if entry.attribute == Attribute::RandomVector && !avp.hidden {
            // The only one that may come more than once: it rules what follows it.
            *random_vector = Some(avp.value);
            return Ok(());
        }
        let value = match reveal(avp, entry, secret, *random_vector) {
            Ok(value) => value,
            Err(fault) => return recoverable(avp, fault),
        };
        let bytes = value.bytes().len();
        if bytes < usize::from(entry.bytes_min) || bytes > usize::from(entry.bytes_max) {
            let fault = Fault::about(ErrorCode::Length, &format!("{bytes} octets"), entry);
            return recoverable(avp, fault);
        }
        match self.values.get_mut(entry.attribute as usize) {
            Some(place @ None) => *place = Some(value),
            _ => return recoverable(avp, Fault::about(ErrorCode::Value, "twice", entry)),
        }
        Ok(())
    }

    /// The value of an attribute, where present.
    pub fn bytes(&self, attribute: Attribute) -> Option<&[u8]> {
        self.values.get(attribute as usize)?.as_ref().map(Value::bytes)
    }

    /// A copy of the value, where present.
    pub fn owned(&self, attribute: Attribute) -> Option<Vec<u8>> {
        self.bytes(attribute).map(<[u8]>::to_vec)
    }

    /// A two octet value, where present.
    pub fn u16(&self, attribute: Attribute) -> Option<u16> {
        self.bytes(attribute)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// A four octet value, where present.
    pub fn u32(&self, attribute: Attribute) -> Option<u32> {
        self.bytes(attribute)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A number of up to eight octets, where present.
    pub fn u64(&self, attribute: Attribute) -> Option<u64> {
        let bytes = self.bytes(attribute).filter(|bytes| bytes.len() <= size_of::<u64>())?;
        Some(bytes.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    /// Makes of an absent value what is wrong with the message.
    ///
    /// # Errors
    /// The [`Fault`] "missing".
    pub fn required<T>(&self, attribute: Attribute, value: Option<T>) -> Result<T, Fault> {
        value.ok_or_else(|| Fault::about(ErrorCode::Value, "missing", attribute.entry()))
    }

    /// An identifier that must be present, and not 0 (RFC 2661 section 5.3).
    ///
    /// # Errors
    /// [`Fault`] where it is neither.
    pub fn identifier(&self, attribute: Attribute) -> Result<u16, Fault> {
        match self.required(attribute, self.u16(attribute))? {
            0 => Err(Fault::about(ErrorCode::Value, "zero", attribute.entry())),
            identifier => Ok(identifier),
        }
    }
}

/// An AVP that is not usable is fatal only with the M bit.
fn recoverable(avp: Avp<'_>, fault: Fault) -> Result<(), Fault> {
    if avp.mandatory { Err(fault) } else { Ok(()) }
}

/// The value, uncovered where it is hidden. Any attribute may come hidden, whatever the RFC says
/// of it, since some peers hide all (docs/peers.md row 37).
fn reveal<'a>(
    avp: Avp<'a>,
    entry: &Entry,
    secret: Option<&[u8]>,
    random_vector: Option<&[u8]>,
) -> Result<Value<'a>, Fault> {
    if !avp.hidden {
        return Ok(Value::Plain(avp.value));
    }
    // Without a secret there is no way to understand it: as good as unknown.
    let secret =
        secret.ok_or_else(|| Fault::about(ErrorCode::UnknownAvp, "hidden, no secret", entry))?;
    let random_vector = random_vector
        .ok_or_else(|| Fault::about(ErrorCode::Value, "hidden, no Random Vector before", entry))?;
    secret::unhide(avp.number, secret, random_vector, avp.value)
        .map(Value::Revealed)
        .map_err(|error| Fault::about(ErrorCode::Value, &error.to_string(), entry))
}

impl Value<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Revealed(secret) => secret.expose(),
        }
    }
}

/// Which AVPs are sent hidden (RFC 2661 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hide {
    /// None: some peers give up on a hidden AVP (docs/peers.md row 3).
    #[default]
    Never,
    /// Those that name a subscriber or prove who it is.
    Secrets,
    /// All that the RFC lets be hidden.
    All,
}

impl Hide {
    fn covers(self, entry: &Entry) -> bool {
        match self {
            Self::Never => false,
            Self::Secrets => entry.hideable && entry.attribute.is_secret(),
            Self::All => entry.hideable,
        }
    }
}

/// How to hide what is to be hidden of a message.
#[derive(Clone, Copy)]
pub struct Hiding<'a> {
    /// Which AVPs.
    pub hide: Hide,
    /// The tunnel's secret.
    pub secret: &'a [u8],
    /// Octets that nobody could foresee; sent along.
    pub random_vector: &'a [u8],
    /// Octets that obscure the lengths; may be empty.
    pub padding: &'a [u8],
}

/// Appends AVPs to a message.
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    hiding: Option<Hiding<'a>>,
    random_vector_sent: bool,
}

impl<'a> Encoder<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, hiding: Option<Hiding<'a>>) -> Self {
        Self { out, hiding, random_vector_sent: false }
    }

    /// One AVP. A value that is longer than an AVP can be is cut: all that we send of any length
    /// are names and texts.
    pub fn bytes(&mut self, attribute: Attribute, value: &[u8]) {
        let entry = attribute.entry();
        let hiding = self.hiding.filter(|hiding| hiding.hide.covers(entry));
        let Some(hiding) = hiding else {
            return self.plain(entry, value);
        };
        if !std::mem::replace(&mut self.random_vector_sent, true) {
            self.plain(Attribute::RandomVector.entry(), hiding.random_vector);
        }
        let Hiding { secret, random_vector, padding, .. } = hiding;
        let value = value.get(..VALUE_BYTES_MAX - 2).unwrap_or(value);
        let room = VALUE_BYTES_MAX - 2 - value.len();
        let padding = padding.get(..room).unwrap_or(padding);
        self.header(entry, HIDDEN, 2 + value.len() + padding.len());
        secret::hide(entry.number, secret, random_vector, value, padding, self.out);
    }

    /// An AVP with a two octet value.
    pub fn u16(&mut self, attribute: Attribute, value: u16) {
        self.bytes(attribute, &value.to_be_bytes());
    }

    /// An AVP with a four octet value.
    pub fn u32(&mut self, attribute: Attribute, value: u32) {
        self.bytes(attribute, &value.to_be_bytes());
    }

    fn plain(&mut self, entry: &Entry, value: &[u8]) {
        let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
        self.header(entry, 0, value.len());
        self.out.extend_from_slice(value);
    }

    fn header(&mut self, entry: &Entry, hidden: u16, value_bytes: usize) {
        debug_assert!(value_bytes <= VALUE_BYTES_MAX);
        let mandatory = if entry.mandatory { MANDATORY } else { 0 };
        let flags = mandatory | hidden | (AVP_HEADER_BYTES + value_bytes) as u16;
        for field in [flags, entry.vendor, entry.number] {
            self.out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn avp(flags: u8, vendor: u16, number: u16, value: &[u8]) -> Vec<u8> {
        let mut out = vec![flags, (6 + value.len()) as u8];
        out.extend(vendor.to_be_bytes());
        out.extend(number.to_be_bytes());
        out.extend(value);
        out
    }

    fn fault(body: &[u8]) -> Option<Fault> {
        Collected::new(Avps::new(body), None).fault()
    }

    #[test]
    fn lengths_of_avps() {
        // A whole one, one under six octets, one a single octet past the end, a header cut short.
        assert_eq!(fault(&avp(0x80, 0, 7, b"lac")), None);
        assert_eq!(fault(&[0x80, 5, 0, 0, 0, 7, 1]).unwrap().error, ErrorCode::Length);
        assert_eq!(fault(&[0x80, 8, 0, 0, 0, 7, 1]).unwrap().error, ErrorCode::Length);
        assert_eq!(fault(&[0x80, 6, 0, 0, 0]).unwrap().error, ErrorCode::Length);
        // Also without the M bit, as nothing can be read behind it.
        assert_eq!(fault(&[0, 8, 0, 0, 0, 8, 1]).unwrap().error, ErrorCode::Length);
    }

    #[test]
    fn unknown_avps_by_their_m_bit() {
        // docs/peers.md row 9: what Windows adds to its ICRQ, and the same with M.
        assert_eq!(fault(&avp(0, 311, 1, &[0; 16])), None);
        let refused = fault(&avp(0x80, 311, 1, &[0; 16])).unwrap();
        assert_eq!(refused.error, ErrorCode::UnknownAvp);
        assert_eq!(refused.text, "unknown mandatory AVP, vendor 311 type 1");
        // docs/peers.md row 25: the type alone does not make it a Host Name.
        let body = avp(0, 3561, 7, b"dsl");
        let collected = Collected::new(Avps::new(&body), None);
        assert_eq!(collected.bytes(Attribute::HostName), None);
    }

    #[test]
    fn reserved_bits_make_it_unknown() {
        for bit in [0x20, 0x10, 0x08, 0x04] {
            assert_eq!(fault(&avp(bit, 0, 8, b"x")), None);
            let refused = fault(&avp(0x80 | bit, 0, 7, b"x")).unwrap();
            assert_eq!(refused.error, ErrorCode::UnknownAvp);
        }
    }

    #[test]
    fn a_wrong_size_is_fatal_with_m_only() {
        assert_eq!(fault(&avp(0x80, 0, 9, &[0, 1])), None);
        assert_eq!(fault(&avp(0x80, 0, 9, &[1])).unwrap().error, ErrorCode::Length);
        assert_eq!(fault(&avp(0x80, 0, 9, &[0, 1, 2])).unwrap().error, ErrorCode::Length);
        let body = avp(0, 0, 25, &[1, 2]);
        let mut collected = Collected::new(Avps::new(&body), None);
        assert_eq!(collected.fault(), None);
        assert_eq!(collected.bytes(Attribute::PhysicalChannelId), None);
    }

    #[test]
    fn twice_is_refused_with_m_only() {
        let mut body = avp(0x80, 0, 7, b"a");
        assert_eq!(fault(&body), None);
        body.extend(avp(0x80, 0, 7, b"b"));
        assert_eq!(fault(&body).unwrap().text, "twice: Host Name AVP (7)");
        // Without the M bit the second one is as if it were not there.
        let mut body = avp(0, 3561, 1, b"first");
        body.extend(avp(0, 3561, 1, b"second"));
        let mut collected = Collected::new(Avps::new(&body), None);
        assert_eq!(collected.fault(), None);
        assert_eq!(collected.bytes(Attribute::AgentCircuitId), Some(&b"first"[..]));
    }

    #[test]
    fn one_avp_too_many() {
        let body = avp(0, 99, 1, b"").repeat(AVPS_MAX);
        assert_eq!(fault(&body), None);
        let body = avp(0, 99, 1, b"").repeat(AVPS_MAX + 1);
        assert_eq!(fault(&body).unwrap().error, ErrorCode::Resources);
    }

    #[test]
    fn what_stands_behind_a_fault_is_collected() {
        let mut body = avp(0x80, 9, 9, b"");
        body.extend(avp(0x80, 0, 14, &[1, 2]));
        let mut collected = Collected::new(Avps::new(&body), None);
        assert_eq!(collected.u16(Attribute::AssignedSessionId), Some(0x0102));
        assert_eq!(collected.fault().unwrap().error, ErrorCode::UnknownAvp);
    }

    #[test]
    fn hidden_and_revealed() {
        let hiding =
            Hiding { hide: Hide::All, secret: b"s3", random_vector: &[7; 23], padding: &[1; 19] };
        let mut body = Vec::new();
        let mut encoder = Encoder::new(&mut body, Some(hiding));
        encoder.bytes(Attribute::HostName, b"lac");
        encoder.u32(Attribute::CallSerialNumber, 77);
        encoder.bytes(Attribute::CallingNumber, b"123");
        // One vector serves both; Host Name may not be hidden.
        assert_eq!(Avps::new(&body).count(), 4);
        assert_eq!(Avps::new(&body).filter(|avp| avp.as_ref().unwrap().hidden).count(), 2);
        let mut collected = Collected::new(Avps::new(&body), Some(b"s3"));
        assert_eq!(collected.fault(), None);
        assert_eq!(collected.u32(Attribute::CallSerialNumber), Some(77));
        assert_eq!(collected.bytes(Attribute::CallingNumber), Some(&b"123"[..]));
        // No secret, or another one.
        let refused = Collected::new(Avps::new(&body), None).fault().unwrap();
        assert_eq!(refused.error, ErrorCode::UnknownAvp);
        assert!(Collected::new(Avps::new(&body), Some(b"s4")).fault().is_some());
    }

    #[test]
    fn hidden_without_a_vector_before_it() {
        let mut body = avp(0xc0, 0, 15, &[0; 6]);
        body.extend(avp(0x80, 0, 36, &[1; 16]));
        let refused = Collected::new(Avps::new(&body), Some(b"s")).fault().unwrap();
        assert_eq!(refused.error, ErrorCode::Value);
    }

    #[test]
    fn each_hidden_avp_takes_the_closest_vector_before_it() {
        let mut body = Vec::new();
        for (vector, attribute, value) in
            [(&[1; 16], Attribute::MinimumBps, 5), (&[2; 16], Attribute::MaximumBps, 6)]
        {
            let hiding =
                Hiding { hide: Hide::All, secret: b"s", random_vector: vector, padding: &[] };
            Encoder::new(&mut body, Some(hiding)).u32(attribute, value);
        }
        let collected = Collected::new(Avps::new(&body), Some(b"s"));
        assert_eq!(collected.u32(Attribute::MinimumBps), Some(5));
        assert_eq!(collected.u32(Attribute::MaximumBps), Some(6));
    }

    #[test]
    fn the_longest_value_fits_and_a_longer_one_is_cut() {
        for hiding in [
            None,
            Some(Hiding { hide: Hide::All, secret: b"s", random_vector: &[1], padding: &[9; 30] }),
        ] {
            for length in [VALUE_BYTES_MAX - 2, VALUE_BYTES_MAX, VALUE_BYTES_MAX + 1] {
                let mut body = vec![0xa5];
                let value = vec![0x61; length];
                Encoder::new(&mut body, hiding).bytes(Attribute::CalledNumber, &value);
                let collected = Collected::new(Avps::new(&body[1..]), Some(b"s"));
                let cut = if hiding.is_some() { VALUE_BYTES_MAX - 2 } else { VALUE_BYTES_MAX };
                let read = collected.bytes(Attribute::CalledNumber).unwrap();
                assert_eq!(read.len(), length.min(cut));
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Collected::new(Avps::new(&body), Some(b"secret")).fault();
        }
    }
}
