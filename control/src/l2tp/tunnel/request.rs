//! What the owner says of a call that it wants.

use crate::l2tp::SessionId;
use crate::l2tp::message::{AccessLine, FRAMING_ANY, Iccn, Icrq, Ocrq};
use crate::l2tp::secret::SecretBytes;

/// An incoming call, to be handed to the LNS: what ICRQ and ICCN say of it (RFC 2661 sections 6.6
/// and 6.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest {
    /// For people who compare the logs of both ends; should grow from call to call.
    pub call_serial_number: u32,
    /// Bit 0: digital, bit 1: analogue; no bit: no physical line.
    pub bearer_type: Option<u32>,
    /// For logs.
    pub physical_channel_id: Option<u32>,
    /// Who calls.
    pub calling_number: Option<Vec<u8>>,
    /// Who is called.
    pub called_number: Option<Vec<u8>>,
    /// More digits.
    pub sub_address: Option<Vec<u8>>,
    /// Bits a second to the subscriber.
    pub tx_connect_speed: u32,
    /// Bits a second from the subscriber, where they are others.
    pub rx_connect_speed: Option<u32>,
    /// Bit 0: synchronous, bit 1: asynchronous. What the LNS does not offer is left out.
    pub framing_type: u32,
    /// What was negotiated with the subscriber already.
    pub proxy: Option<Box<Proxy>>,
    /// The customer group that the call belongs to.
    pub private_group_id: Option<Vec<u8>>,
    /// Whether data must always have sequence numbers.
    pub sequencing_required: bool,
    /// What an access node says of the subscriber's line.
    pub access_line: Option<Box<AccessLine>>,
}

impl Default for CallRequest {
    /// A call without a telephone: no numbers, any framing.
    fn default() -> Self {
        Self {
            call_serial_number: 0,
            bearer_type: None,
            physical_channel_id: None,
            calling_number: None,
            called_number: None,
            sub_address: None,
            tx_connect_speed: 0,
            rx_connect_speed: None,
            framing_type: FRAMING_ANY,
            proxy: None,
            private_group_id: None,
            sequencing_required: false,
            access_line: None,
        }
    }
}

/// LCP and authentication as the LAC has gone through them with the subscriber (RFC 2661 section
/// 4.4.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// Options of the subscriber's first LCP Configure-Request.
    pub initial_received_lcp_confreq: Option<Vec<u8>>,
    /// Options of our last one.
    pub last_sent_lcp_confreq: Option<Vec<u8>>,
    /// Options of the subscriber's last one.
    pub last_received_lcp_confreq: Option<Vec<u8>>,
    /// How the subscriber proved who it is; `None`: nothing is said of that.
    pub authentication: Option<ProxyAuthentication>,
}

/// What a subscriber has proved itself with. Each kind has just the AVPs that section 4.4.5 wants
/// with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are name, challenge, identifier and response")]
pub enum ProxyAuthentication {
    /// A login that was typed.
    Text { name: Vec<u8>, response: SecretBytes },
    /// CHAP.
    Chap { name: Vec<u8>, challenge: Vec<u8>, identifier: u8, response: SecretBytes },
    /// PAP; the response is the password.
    Pap { name: Vec<u8>, identifier: u8, response: SecretBytes },
    /// It did not have to.
    None,
    /// MS-CHAP version 1.
    MsChapV1 { name: Vec<u8>, challenge: Vec<u8>, identifier: u8, response: SecretBytes },
}

impl ProxyAuthentication {
    /// Writes the AVPs' values.
    fn describe(&self, iccn: &mut Iccn) {
        let (number, name, challenge, identifier, response) = match self {
            Self::Text { name, response } => (1, Some(name), None, None, Some(response)),
            Self::Chap { name, challenge, identifier, response } => {
                (2, Some(name), Some(challenge), Some(*identifier), Some(response))
            }
            Self::Pap { name, identifier, response } => {
                (3, Some(name), None, Some(*identifier), Some(response))
            }
            Self::None => (4, None, None, None, None),
            Self::MsChapV1 { name, challenge, identifier, response } => {
                (5, Some(name), Some(challenge), Some(*identifier), Some(response))
            }
        };
        iccn.proxy_authen_type = Some(number);
        iccn.proxy_authen_name = name.cloned();
        iccn.proxy_authen_challenge = challenge.cloned();
        iccn.proxy_authen_id = identifier.map(u16::from);
        iccn.proxy_authen_response = response.cloned();
    }
}

impl CallRequest {
    pub(super) fn icrq(&self, assigned_session_id: SessionId) -> Icrq {
        Icrq {
            assigned_session_id,
            call_serial_number: self.call_serial_number,
            bearer_type: self.bearer_type,
            physical_channel_id: self.physical_channel_id,
            calling_number: self.calling_number.clone(),
            called_number: self.called_number.clone(),
            sub_address: self.sub_address.clone(),
            access_line: self.access_line.clone(),
            ..Icrq::default()
        }
    }

    /// What ICCN says to an LNS that offers `framing`.
    pub(super) fn iccn(self, framing: u32) -> Iccn {
        let mut iccn = Iccn {
            tx_connect_speed: self.tx_connect_speed,
            rx_connect_speed: self.rx_connect_speed,
            framing_type: self.framing_type & framing,
            private_group_id: self.private_group_id,
            sequencing_required: self.sequencing_required,
            ..Iccn::default()
        };
        if let Some(proxy) = self.proxy {
            if let Some(authentication) = &proxy.authentication {
                authentication.describe(&mut iccn);
            }
            iccn.initial_received_lcp_confreq = proxy.initial_received_lcp_confreq;
            iccn.last_sent_lcp_confreq = proxy.last_sent_lcp_confreq;
            iccn.last_received_lcp_confreq = proxy.last_received_lcp_confreq;
        }
        iccn
    }
}

/// An outgoing call that the LAC is to place: what OCRQ says of it (RFC 2661 section 6.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// For people who compare the logs of both ends; should grow from call to call.
    pub call_serial_number: u32,
    /// Lowest acceptable speed in bits a second.
    pub minimum_bps: u32,
    /// Highest acceptable speed in bits a second.
    pub maximum_bps: u32,
    /// Bit 0: digital, bit 1: analogue; both: any. What the LAC does not offer is left out.
    pub bearer_type: u32,
    /// Bit 0: synchronous, bit 1: asynchronous; both: any. What the LAC does not offer is left out.
    pub framing_type: u32,
    /// Whom to call.
    pub called_number: Vec<u8>,
    /// More digits.
    pub sub_address: Option<Vec<u8>>,
}

impl Default for OutgoingRequest {
    /// Any speed, bearer and framing, and nobody called.
    fn default() -> Self {
        Self {
            call_serial_number: 0,
            minimum_bps: 0,
            maximum_bps: u32::MAX,
            bearer_type: BEARER_ANY,
            framing_type: FRAMING_ANY,
            called_number: Vec::new(),
            sub_address: None,
        }
    }
}

/// Both kinds of bearers, digital and analogue.
pub const BEARER_ANY: u32 = 3;

impl OutgoingRequest {
    pub(super) fn ocrq(&self, assigned_session_id: SessionId, bearer: u32, framing: u32) -> Ocrq {
        Ocrq {
            assigned_session_id,
            call_serial_number: self.call_serial_number,
            minimum_bps: self.minimum_bps,
            maximum_bps: self.maximum_bps,
            bearer_type: self.bearer_type & bearer,
            framing_type: self.framing_type & framing,
            called_number: self.called_number.clone(),
            sub_address: self.sub_address.clone(),
            ..Ocrq::default()
        }
    }
}

/// How an outgoing call was answered, for OCCN (RFC 2661 section 6.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Bits a second to the one who was called.
    pub tx_connect_speed: u32,
    /// Bits a second back, where they are others.
    pub rx_connect_speed: Option<u32>,
    /// Bit 0: synchronous, bit 1: asynchronous.
    pub framing_type: u32,
    /// Whether data must always have sequence numbers.
    pub sequencing_required: bool,
}

/// Why a call was not even asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotPlace {
    /// The tunnel is over.
    #[error("the tunnel is closed")]
    Closed,
    /// The tunnel has as many calls as it may have.
    #[error("no room for another call in this tunnel")]
    NoRoom,
    /// The peer does not offer what the call needs.
    #[error("the peer offers no bearer or framing for this call")]
    NotOffered,
}
