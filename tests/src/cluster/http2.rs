//! As much of HTTP/2 as an unfriendly client needs: frames written by hand, so that a connection can
//! be left at any point where no real client would leave it.

/// What a client sends first: the preface, and an empty SETTINGS frame.
pub const HTTP2_OPENING: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Flag of a HEADERS frame that needs no continuation.
const END_HEADERS: u8 = 0x4;

/// Returns the HEADERS frame that opens stream 1 as a gRPC call of `method`, such as
/// `/cotter.v1.Cotter/Attach`.
#[must_use]
pub fn headers_frame(method: &str) -> Vec<u8> {
    // Indexed fields of the static table: method POST, scheme http.
    let mut block = vec![0x83, 0x86];
    // Literal fields without indexing: the name by its index in the static table, or spelled out.
    literal(&mut block, &[0x04], method);
    literal(&mut block, &[0x01], "localhost");
    literal(&mut block, &[0x0f, 0x10], "application/grpc");
    literal(&mut block, b"\x00\x02te", "trailers");
    frame(0x1, END_HEADERS, &block)
}

/// Returns a DATA frame of stream 1 that carries `payload` as it is.
#[must_use]
pub fn data_frame(payload: &[u8]) -> Vec<u8> {
    frame(0x0, 0, payload)
}

fn literal(block: &mut Vec<u8>, name: &[u8], value: &str) {
    block.extend_from_slice(name);
    block.push(
        u8::try_from(value.len())
            .ok()
            .filter(|length| *length < 127)
            .unwrap_or(0),
    );
    block.extend_from_slice(value.as_bytes());
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    bytes.extend_from_slice(payload);
    bytes
}
