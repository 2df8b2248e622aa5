//! What a node says of the scrubber.

use crate::report::Scrub;
use crate::v1;

impl From<Scrub> for v1::ScrubStatus {
    fn from(s: Scrub) -> Self {
        Self {
            rows: s.rows,
            bytes: s.bytes,
            passes: s.passes,
            last_pass_ms: s.last_pass_ms,
            permille: s.permille,
            damaged: s.damaged,
            found: s.found,
            mended: s.mended,
            rebuilds: s.rebuilds,
            rebuilding: s.rebuilding,
        }
    }
}

impl From<v1::ScrubStatus> for Scrub {
    fn from(wire: v1::ScrubStatus) -> Self {
        Self {
            rows: wire.rows,
            bytes: wire.bytes,
            passes: wire.passes,
            last_pass_ms: wire.last_pass_ms,
            permille: wire.permille,
            damaged: wire.damaged,
            found: wire.found,
            mended: wire.mended,
            rebuilds: wire.rebuilds,
            rebuilding: wire.rebuilding,
        }
    }
}
