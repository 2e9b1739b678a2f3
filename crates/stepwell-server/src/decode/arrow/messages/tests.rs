use std::sync::Arc;

use arrow::{
    array::{ArrayRef, DictionaryArray, Float64Array, Int8Array, Int64Array, StringArray},
    datatypes::Int8Type,
    record_batch::RecordBatch,
};
use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};

use super::*;
use crate::decode::InFlight;

/// Metadata and body of each message of a stream, as Flight carries them.
fn split(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut rest = stream;
    while rest.len() > 8 {
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let metadata = rest[8..8 + length].to_vec();
        let body = arrow_ipc::root_as_message(&metadata).unwrap().bodyLength() as usize;
        messages.push((metadata, rest[8 + length..8 + length + body].to_vec()));
        rest = &rest[8 + length + body..];
    }
    messages
}

fn stream(dictionaries: &[&[&str]], handling: DictionaryHandling) -> Vec<(Vec<u8>, Vec<u8>)> {
    let batches: Vec<RecordBatch> = dictionaries
        .iter()
        .map(|values| {
            let last = Int8Array::from(vec![values.len() as i8 - 1]);
            let metric = DictionaryArray::<Int8Type>::new(last, Arc::new(StringArray::from(values.to_vec())));
            let columns: [(&str, ArrayRef); 4] = [
                ("run_id", Arc::new(StringArray::from(vec!["r"]))),
                ("metric", Arc::new(metric)),
                ("step", Arc::new(Int64Array::from(vec![1]))),
                ("value", Arc::new(Float64Array::from(vec![0.5]))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        })
        .collect();
    let options = IpcWriteOptions::default().with_dictionary_handling(handling);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    split(&writer.into_inner().unwrap())
}

fn metrics(messages: &[(Vec<u8>, Vec<u8>)], pool: &InFlight) -> Vec<String> {
    let mut decoder = Messages::default();
    let mut names = Vec::new();
    for (metadata, body) in messages {
        let mut budget = Budget::new(pool.clone(), 1 << 20);
        budget.receive(body.len()).unwrap();
        if let Some(batch) = decoder.decode(metadata, body, 0, &mut budget).unwrap() {
            assert_eq!((batch.len(), batch.series().len()), (1, 1));
            names.push(batch.series()[0].metric.to_string());
        }
    }
    assert!(pool.used_bytes() > 0, "dictionaries are held");
    names
}

#[test]
fn i9_dictionaries_last_over_batches_and_give_back_what_they_held() {
    let pool = InFlight::new(1 << 20);
    let kept: [&[&str]; 3] = [&["a"], &["a", "b"], &["a", "b", "c"]];
    assert_eq!(metrics(&stream(&kept, DictionaryHandling::Delta), &pool), ["a", "b", "c"]);
    assert_eq!(pool.used_bytes(), 0);
    let names: Vec<String> = (0..2_000).map(|i| format!("metric {i} {}", "x".repeat(400))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let replaced: Vec<&[&str]> = names.chunks(1).collect();
    // Two thousand replacements of half a kilobyte pass through a pool that could not hold them all.
    assert_eq!(metrics(&stream(&replaced, DictionaryHandling::Resend), &pool), names);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn i9_a_stream_cannot_pile_up_dictionaries() {
    let pool = InFlight::new(1 << 30);
    let messages = stream(&[&["a"], &["a", "b"]], DictionaryHandling::Delta);
    let mut decoder = Messages::default();
    let long = vec![0; 8 << 20];
    let error = messages[..2].iter().chain(std::iter::repeat(&messages[3])).take(100).find_map(|(metadata, body)| {
        // The batch's buffers lie at the start; what follows them is held all the same.
        let body = [body.as_slice(), if body.is_empty() { &[] } else { &long }].concat();
        let mut budget = Budget::new(pool.clone(), 256 << 20);
        decoder.decode(metadata, &body, 0, &mut budget).err()
    });
    let error = error.unwrap();
    assert_eq!(
        (error.code, error.limit),
        (DecodeCode::DecodedTooLarge, Some(DICTIONARIES_BYTES_MAX as u64)),
        "{error}"
    );
}

#[test]
fn a_full_pool_leaves_the_decoder_as_it_was() {
    let messages = stream(&[&["a"]], DictionaryHandling::Resend);
    let mut decoder = Messages::default();
    for (metadata, body) in &messages {
        let full = InFlight::new(1);
        let error = decoder.decode(metadata, body, 0, &mut Budget::new(full.clone(), 1 << 20)).unwrap_err();
        assert_eq!((error.code, full.used_bytes()), (DecodeCode::QueueFull, 0));
        decoder.decode(metadata, body, 0, &mut Budget::new(InFlight::new(1 << 20), 1 << 20)).unwrap();
    }
}

#[test]
fn a_stream_must_start_with_its_schema_and_have_one() {
    let messages = stream(&[&["a"]], DictionaryHandling::Resend);
    let mut budget = Budget::new(InFlight::new(1 << 20), 1 << 20);
    let mut decode = |decoder: &mut Messages, at: usize| {
        decoder.decode(&messages[at].0, &messages[at].1, 0, &mut budget).map_err(|error| error.message)
    };
    let mut decoder = Messages::default();
    assert!(decode(&mut decoder, 1).unwrap_err().contains("start with a schema"));
    decode(&mut decoder, 0).unwrap();
    assert!(decode(&mut decoder, 0).unwrap_err().contains("second schema"));
}

#[test]
fn names_kept_from_batch_to_batch_are_those_of_each_batch() {
    let pool = InFlight::new(1 << 20);
    let messages = stream(&[&["a", "b"], &["a", "b"], &["a", "b", "c"], &["b"], &["a"]], DictionaryHandling::Resend);
    assert_eq!(metrics(&messages, &pool), ["b", "b", "c", "b", "a"]);
    // So many that they are forgotten in between.
    let long: Vec<String> = (0..100).map(|number| format!("{number:0>1000}")).collect();
    let batches: Vec<Vec<&str>> =
        (1..=100).map(|end| long[end - 1..end].iter().map(String::as_str).collect()).collect();
    let batches: Vec<&[&str]> = batches.iter().chain(&batches).chain(&batches).map(Vec::as_slice).collect();
    let expected: Vec<&str> = batches.iter().map(|names| names[0]).collect();
    assert_eq!(metrics(&stream(&batches, DictionaryHandling::Resend), &pool), expected);
}
