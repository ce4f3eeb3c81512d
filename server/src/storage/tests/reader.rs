//! Bytes that nobody wrote: the reader answers with an error or a sound log, and nothing else.

use super::super::operation::{decode, decode_state};
use super::super::record::{self, Kind, Link};
use super::super::segment::{SegmentHeader, segment_name};
use super::{IDENTITY, Model, SimFiles, open, sample, sample_history};
use crate::storage::Files;
use crate::storage::sim_disk::Chance;

/// Pieces that are likelier than chance to lead the reader astray.
fn dictionary(files: &SimFiles) -> Vec<Vec<u8>> {
    let mut words = vec![
        b"COTTERLG".to_vec(),
        vec![0xff; 4],
        vec![0xff; 8],
        vec![0; 29],
        vec![1],
        vec![2],
        vec![3],
        1_u32.to_le_bytes().to_vec(),
        (1_u32 << 30).to_le_bytes().to_vec(),
        u64::MAX.to_le_bytes().to_vec(),
    ];
    for number in 1..=3 {
        let contents = files.contents(&segment_name(number)).unwrap();
        words.push(contents[..64].to_vec());
        words.push(contents[64..151].to_vec());
        words.push(contents[151..180].to_vec());
        words.push(contents.clone());
    }
    for (sequence, flushed) in [(0, 0), (3, 3), (9, 2), (u64::MAX, u64::MAX)] {
        for kind in [Kind::State, Kind::Operations, Kind::Mark] {
            let link = Link {
                previous: 5,
                sequence,
                flushed,
            };
            let mut out = Vec::new();
            let body = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            record::append(&mut out, IDENTITY.salt(), link, kind, |out| {
                out.extend_from_slice(&body);
            });
            words.push(out);
        }
    }
    words
}

#[test]
fn spoilt_segments_are_refused_or_read_as_a_state_that_was_written() {
    let sound = SimFiles::new();
    let history = sample_history(&sound, 14, 5);
    let words = dictionary(&sound);
    let names: Vec<String> = sound.list().unwrap();
    let mut opened = 0;
    for seed in 0..4_000 {
        let mut chance = Chance::new(seed);
        let files = sound.duplicate();
        for _ in 0..=chance.below(3) {
            let name = &names[chance.below(names.len())];
            let at = chance.below(files.contents(name).unwrap().len());
            let word = if chance.below(4) == 0 {
                (0..chance.below(40)).map(|_| chance.next() as u8).collect()
            } else {
                words[chance.below(words.len())].clone()
            };
            files.overwrite(name, at, &word).unwrap();
        }
        if let Ok(log) = open(&files) {
            opened += 1;
            let found = Model::of(&log);
            // Damage up to the very end, marks included, looks unfinished; it is still reported.
            let cut = log.report().torn.is_some() && history.contains(&found);
            assert!(
                cut || Some(&found) == history.last(),
                "seed {seed} was silent: {found:?}"
            );
        }
    }
    assert!(
        opened > 100,
        "only {opened} were harmless: the test says nothing of those"
    );
}

#[test]
fn no_bytes_make_the_decoders_panic_or_allocate_by_their_word() {
    let files = SimFiles::new();
    sample(&files, 14, 5);
    let words = dictionary(&files);
    for seed in 0..20_000 {
        let mut chance = Chance::new(seed);
        let mut bytes = Vec::new();
        for _ in 0..chance.below(6) {
            if chance.below(2) == 0 {
                bytes.extend((0..chance.below(30)).map(|_| chance.next() as u8));
            } else {
                bytes.extend_from_slice(&words[chance.below(words.len())]);
            }
        }
        let _ = SegmentHeader::decode(&bytes);
        let _ = decode_state(&bytes);
        if let Ok((changes, starts)) = decode(&bytes) {
            assert!(changes.len() <= bytes.len() && starts.len() <= bytes.len() / 4);
        }
        if let Ok(record) = record::read(&bytes, IDENTITY.salt()) {
            assert!(record.total_bytes() <= bytes.len());
        }
        let _ = record::find_proof_of_flush(&bytes, IDENTITY.salt(), chance.next() % 4);
    }
}

#[test]
fn a_count_beyond_the_bytes_is_refused() {
    assert!(decode(&[1, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(decode(&[1, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(decode(&[9]).is_err());
    assert!(decode(&[]).unwrap().0.is_empty());
}

#[test]
fn an_earlier_segment_that_was_cut_short_is_refused_unless_only_unused_bytes_are_gone() {
    let sound = SimFiles::new();
    let model = sample(&sound, 14, 5);
    let name = segment_name(1);
    let contents = sound.contents(&name).unwrap();
    for length in 0..contents.len() {
        let files = sound.duplicate();
        files.remove(&name).unwrap();
        files.create(&name).unwrap();
        files.overwrite(&name, 0, &contents[..length]).unwrap();
        if let Ok(log) = open(&files) {
            assert_eq!(Model::of(&log), model, "cut to {length} bytes");
        }
    }
}
