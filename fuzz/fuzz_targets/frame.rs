//! Any bytes are a frame that decodes to what encodes to the same message, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pando_sync::{Compression, FRAME_HEADER_BYTES, Request, Response, decode, encode};

/// The bytes as the body of a frame with a right checksum: the first byte gives the flags.
fn forge(bytes: &[u8]) -> Vec<u8> {
    let (flags, body) = bytes.split_first().map_or((0, bytes), |(flags, body)| (flags & 3, body));
    let length = (body.len() as u32).to_be_bytes();
    // A compressed body claims more than it has.
    let raw = (body.len() as u32 * if flags == 1 { 8 } else { 1 }).to_be_bytes();
    let mut checked = length.to_vec();
    checked.push(flags);
    checked.extend(raw);
    checked.extend(body);
    let crc = crc32fast::hash(&checked).to_be_bytes();
    [&length[..], &crc[..], &checked[4..]].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::<Response>(bytes);
    let frame = forge(bytes);
    assert!(frame.len() >= FRAME_HEADER_BYTES);
    if let Ok(response) = decode::<Response>(&frame) {
        let again = encode(&response, Compression::None).expect("what was decoded fits");
        assert_eq!(decode::<Response>(&again).expect("what was encoded decodes"), response);
    }
    if let Ok(request) = decode::<Request>(&frame) {
        let again = encode(&request, Compression::None).expect("what was decoded fits");
        assert_eq!(decode::<Request>(&again).expect("what was encoded decodes"), request);
    }
});
