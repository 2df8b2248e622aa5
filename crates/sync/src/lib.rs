//! The sync session as a pure state machine: message in, messages out; framing and compression.
