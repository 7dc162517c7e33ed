//! What one side of one control protocol asks for and grants, apart from the automaton: an LNS and a
//! dialler run the same machine with different policies.

use rand::RngCore;

use super::option::{OptionList, Options, RawOption, Reply};
use super::{Config, DownCause};

/// What one side of one protocol asks for and grants.
pub trait Policy {
    /// The protocol's number.
    const PROTOCOL: u16;

    /// Returns to the wishes of the configuration: a negotiation begins anew.
    fn reset(&mut self, config: &Config);

    /// The options of our Configure-Request. The same until `reset`, `on_nak` or `on_reject`: an
    /// acknowledgement is compared with it.
    fn request(&self, config: &Config) -> OptionList;

    /// Judges the peer's Configure-Request, and takes it over when the reply is an acknowledgement.
    /// `naks_exhausted`: Max-Failure is reached.
    ///
    /// # Errors
    /// When the link has to be given up.
    fn judge(
        &mut self,
        config: &Config,
        request: &Options<'_>,
        naks_exhausted: bool,
        rng: &mut dyn RngCore,
    ) -> Result<Reply, DownCause>;

    /// Takes in one option of a Configure-Nak.
    ///
    /// # Errors
    /// When nothing acceptable is left to ask for.
    fn on_nak(
        &mut self,
        config: &Config,
        option: RawOption<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), DownCause>;

    /// Takes in one option of a Configure-Reject; it must not be asked for again.
    ///
    /// # Errors
    /// When the option is one that cannot be done without.
    fn on_reject(&mut self, option: RawOption<'_>) -> Result<(), DownCause>;

    /// Whether what the peer has now acknowledged is enough to go on with.
    fn is_complete(&self) -> bool {
        true
    }

    /// The peer does not know a code that can be done without.
    fn on_code_reject(&mut self, _code: u8) {}

    /// Whether the peer knows a code that can be done without.
    fn may_send(&self, _code: u8) -> bool {
        true
    }

    /// The magic number in our Echo-Replies.
    fn magic(&self) -> u32 {
        0
    }
}
