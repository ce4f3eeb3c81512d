//! Bytes that are nearly a batch, sent to a living door: they end their own stream, with a status
//! that names what is wrong, and nobody else notices.
//!
//! `COTTER_FUZZ_CASES` sets the number of cases (see `docs/TESTING.md`); one in sixteen of them is
//! played here.

use super::{Api, ClientBatch, PATIENCE, ask, hello, in_time, is_served, sessions, set};
use cotter_proto::v1::ServerBatch;
use cotter_replica::Input;
use cotter_types::{ClientFrame, Path, Query};
use prost::Message;
use prost::bytes::BufMut;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Cases when the environment does not say.
const CASES_DEFAULT: u64 = 256;

fn cases() -> u64 {
    let cases = std::env::var("COTTER_FUZZ_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse::<u64>().ok());
    cases.map_or(CASES_DEFAULT, |cases| cases.div_ceil(16))
}

/// Sends bytes as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ServerBatch;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ServerBatch;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ServerBatch>, Status> {
        let batch = ServerBatch::decode(from);
        batch
            .map(Some)
            .map_err(|error| Status::unknown(error.to_string()))
    }
}

/// Says hello, sends the bytes, and reads until the stream ends.
async fn play(channel: &Channel, bytes: Vec<u8>) -> Status {
    let mut grpc = Grpc::new(channel.clone());
    in_time(grpc.ready()).await.expect("a connection");
    let messages = tokio_stream::iter([encoded(vec![hello(1)]), bytes]);
    let path = PathAndQuery::from_static("/cotter.v1.Cotter/Attach");
    let replies = grpc.streaming(Request::new(messages), path, Raw);
    let mut replies = match in_time(replies).await {
        Ok(replies) => replies.into_inner(),
        Err(status) => return status,
    };
    loop {
        match in_time(replies.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok(""),
            Err(status) => return status,
        }
    }
}

fn encoded(frames: Vec<ClientFrame>) -> Vec<u8> {
    let frames = frames.into_iter().map(Into::into).collect();
    ClientBatch { frames }.encode_to_vec()
}

/// Says what the door must make of the bytes: how many frames pass before the first that does not,
/// and what the status then names.
fn expected(bytes: &[u8]) -> (usize, Option<&'static str>) {
    let Ok(batch) = ClientBatch::decode(bytes) else {
        return (0, Some("bad message"));
    };
    for (index, frame) in batch.frames.into_iter().enumerate() {
        match ClientFrame::try_from(frame) {
            Err(error) => return (index, Some(error.field)),
            Ok(ClientFrame::Hello { .. }) => return (index, Some("a second hello")),
            Ok(_) => {}
        }
    }
    (usize::MAX, None)
}

/// A stream of pseudo-random values (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Some frames, of which one may be changed inside, and sometimes their bytes as well.
fn batch(draw: &mut Draw) -> Vec<u8> {
    let path = Path::parse("/ls/local/b").expect("a path");
    let frames = [
        sessions(3, 1),
        set(1, "/ls/local/a", 5),
        ClientFrame::KeepAlive { number: 4 },
        ask(5, Query::Get { path }),
        hello(1),
    ];
    let mut bytes: Vec<u8> = (0..=draw.below(3))
        .flat_map(|_| encoded(vec![frames[draw.below(31) % 5].clone()]))
        .collect();
    for _ in 0..draw.below(3) {
        let token: &[u8] = [
            &[0][..],
            &[0x0a, 0x00],
            &[0x7f],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0xff; 10],
            b"/ls//",
            b"\xff",
            &[0x0b; 200],
        ][draw.below(8)];
        let at = draw.below(bytes.len() + 1);
        let over = [0, token.len()][draw.below(2)];
        let to = (at + over).min(bytes.len());
        bytes.splice(at..to, token.iter().copied());
    }
    if draw.below(6) == 0 {
        bytes.truncate(draw.below(bytes.len() + 1));
    }
    bytes
}

#[tokio::test]
async fn hostile_bytes_end_their_own_stream_and_change_nothing() {
    let mut api = Api::start().await;
    let mut steady = api.greeted().await;
    let channel = api.connect().await;
    let (mut ended, mut passed_most, mut own) = (0, 0, 1);
    for case in 0..cases() {
        let bytes = batch(&mut Draw(case));
        let (good, names) = expected(&bytes);
        let frames = ClientBatch::decode(bytes.as_slice()).map_or(0, |batch| batch.frames.len());
        passed_most += 1 + good.min(frames);
        let status = play(&channel, bytes).await;
        match names {
            None => assert_eq!(status.code(), Code::Ok, "case {case}: {status}"),
            Some(names) => {
                ended += 1;
                assert_eq!(
                    status.code(),
                    Code::InvalidArgument,
                    "case {case}: {status}"
                );
                assert!(status.message().contains(names), "case {case}: {status}");
            }
        }
        if case % 8 == 0 {
            is_served(&mut steady).await;
            own += 1;
        }
    }
    assert!(ended > cases() / 4 && ended < cases(), "{ended} ended");
    // Nothing that stood behind the first bad frame reached the replica.
    drop(steady);
    let mut closed = 0;
    let mut frames = 0;
    while closed <= cases() {
        let input = tokio::time::timeout(PATIENCE, api.seen.recv()).await;
        match input.expect("every stream ends").expect("an owner") {
            Input::StreamClosed { .. } => closed += 1,
            Input::Frame { .. } => frames += 1,
            _ => {}
        }
    }
    assert!(frames >= own, "{frames}");
    assert!(frames <= own + passed_most, "{frames} of {passed_most}");
}
