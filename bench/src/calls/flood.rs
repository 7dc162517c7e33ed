//! Beside a flood of SCCRQs from forged addresses.
use super::Arguments;
use xlns_tests::Result;
pub fn run(_: &Arguments) -> Result<()> {
    Ok(())
}
