//! Control-C: the trial ends, and the sessions of an LNS that is not ours are hung up. A second one ends
//! the program at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use xlns_tests::{LabError, Result};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on a signal asks to end, instead of ending.
///
/// # Errors
/// What the kernel says.
pub fn watch() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // In this order: what the first one sets, the second one finds.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(asked))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(asked)))
            .map_err(|error| LabError::io("watch for signals", &error))?;
    }
    Ok(())
}

/// Whether somebody asked to end.
#[inline]
pub fn is_asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}

/// An error where somebody did.
///
/// # Errors
/// That.
pub fn check() -> Result<()> {
    if is_asked() { Err(LabError::new("interrupted: everything is taken down")) } else { Ok(()) }
}
