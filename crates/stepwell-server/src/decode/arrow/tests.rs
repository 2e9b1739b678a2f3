use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, DictionaryArray, Float16Array, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array,
        LargeStringArray, NullArray, RecordBatch, StringArray, StringDictionaryBuilder, StringViewArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
        UInt8Array, UInt64Array,
    },
    datatypes::{
        ArrowDictionaryKeyType, ArrowPrimitiveType, Field, Float16Type, Int8Type, Int64Type, Schema, UInt16Type,
        UInt32Type,
    },
};
use arrow_ipc::{
    CompressionType,
    writer::{DictionaryHandling, IpcWriteOptions, StreamWriter},
};

use super::*;
use crate::decode::InFlight;

const NOW_US: i64 = 1_790_000_000_000_000;
const BUDGET_BYTES: usize = 64 << 20;

fn decode_bytes(body: &[u8]) -> Result<Batch, DecodeError> {
    decode(body.to_vec(), NOW_US, &mut Budget::new(InFlight::new(1 << 30), BUDGET_BYTES))
}

fn record_batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn write(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    write(&[record_batch(columns)], IpcWriteOptions::default())
}

/// Two rows, with the columns given in place of the plain ones.
fn two_rows_with(changed: Vec<(&'static str, ArrayRef)>) -> Vec<(&'static str, ArrayRef)> {
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("run_id", Arc::new(StringArray::from(vec!["r1", "r2"]))),
        ("metric", Arc::new(StringArray::from(vec!["loss", "acc"]))),
        ("step", Arc::new(Int64Array::from(vec![1, 2]))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(vec![10, 20]))),
        ("value", Arc::new(Float64Array::from(vec![0.5, f64::NEG_INFINITY]))),
    ];
    for (name, array) in changed {
        match columns.iter_mut().find(|(column, _)| *column == name) {
            Some(column) => column.1 = array,
            None => columns.push((name, array)),
        }
    }
    columns
}

fn decode_with(name: &'static str, array: impl arrow::array::Array + 'static) -> Result<Batch, DecodeError> {
    decode_bytes(&stream(two_rows_with(vec![(name, Arc::new(array))])))
}

fn names(batch: &Batch) -> Vec<(String, String)> {
    let key = |&index: &u32| {
        let key = &batch.series()[index as usize];
        (key.run_id.to_string(), key.metric.to_string())
    };
    batch.series_index().iter().map(key).collect()
}

fn pair(run: &str, metric: &str) -> (String, String) {
    (run.to_owned(), metric.to_owned())
}

fn dictionary<K: ArrowDictionaryKeyType>(rows: &[&str]) -> DictionaryArray<K> {
    let mut builder = StringDictionaryBuilder::<K>::new();
    rows.iter().for_each(|row| builder.append_value(row));
    builder.finish()
}

#[test]
fn every_kind_of_text_column_is_read() {
    let expected = vec![pair("r1", "loss"), pair("r2", "acc")];
    assert_eq!(names(&decode_bytes(&stream(two_rows_with(vec![]))).unwrap()), expected);
    assert_eq!(names(&decode_with("run_id", LargeStringArray::from(vec!["r1", "r2"])).unwrap()), expected);
    assert_eq!(names(&decode_with("run_id", StringViewArray::from(vec!["r1", "r2"])).unwrap()), expected);
    assert_eq!(names(&decode_with("run_id", dictionary::<Int8Type>(&["r1", "r2"])).unwrap()), expected);
    assert_eq!(names(&decode_with("run_id", dictionary::<UInt16Type>(&["r1", "r2"])).unwrap()), expected);
    assert_eq!(names(&decode_with("metric", dictionary::<UInt32Type>(&["loss", "acc"])).unwrap()), expected);
    let views = DictionaryArray::<Int64Type>::new(
        Int64Array::from(vec![1, 0]),
        Arc::new(StringViewArray::from(vec!["acc", "a metric whose name does not fit into a view"])),
    );
    let read = names(&decode_with("metric", views).unwrap());
    assert_eq!(read, [pair("r1", "a metric whose name does not fit into a view"), pair("r2", "acc")]);
}

#[test]
fn every_kind_of_number_is_read() {
    assert_eq!(decode_with("step", Int8Array::from(vec![-1, 2])).unwrap().step(), [-1, 2]);
    assert_eq!(decode_with("step", UInt64Array::from(vec![7, i64::MAX as u64])).unwrap().step(), [7, i64::MAX]);
    let value =
        |array: ArrayRef| decode_bytes(&stream(two_rows_with(vec![("value", array)]))).unwrap().value().to_vec();
    assert_eq!(value(Arc::new(Float32Array::from(vec![0.1, -0.0]))), [f64::from(0.1_f32), -0.0]);
    assert_eq!(value(Arc::new(Float16Array::from(vec![half(1.5), half(-2.0)]))), [1.5, -2.0]);
    assert_eq!(value(Arc::new(UInt8Array::from(vec![255, 0]))), [255.0, 0.0]);
    assert_eq!(value(Arc::new(Int64Array::from(vec![1 << 53, i64::MIN]))), [9_007_199_254_740_992.0, i64::MIN as f64]);
}

fn half(value: f32) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_f32(value)
}
#[test]
fn every_kind_of_timestamp_is_read() {
    let times = |array: ArrayRef| {
        decode_bytes(&stream(two_rows_with(vec![("timestamp", array)]))).unwrap().timestamp_us().to_vec()
    };
    assert_eq!(times(Arc::new(TimestampSecondArray::from(vec![Some(-1), None]))), [-1_000_000, NOW_US]);
    let zoned = TimestampMillisecondArray::from(vec![1, 2]).with_timezone("Europe/Paris");
    assert_eq!(times(Arc::new(zoned)), [1_000, 2_000]);
    assert_eq!(times(Arc::new(TimestampNanosecondArray::from(vec![1_999, -1]))), [1, -1]);
    assert_eq!(times(Arc::new(Int64Array::from(vec![None, Some(5)]))), [NOW_US, 5]);
    assert_eq!(times(Arc::new(Int32Array::from(vec![3, 4]))), [3, 4]);
    assert_eq!(times(Arc::new(NullArray::new(2))), [NOW_US, NOW_US]);
    let columns = two_rows_with(vec![]).into_iter().filter(|(name, _)| *name != "timestamp").collect();
    assert_eq!(decode_bytes(&stream(columns)).unwrap().timestamp_us(), [NOW_US, NOW_US]);
    let error = decode_with("timestamp", TimestampSecondArray::from(vec![0, i64::MAX])).unwrap_err();
    assert_eq!((error.code, error.row), (DecodeCode::OutOfRange, Some(2)));
}

#[test]
fn i5_nan_payloads_survive() {
    let odd = f64::from_bits(0x7ff0_dead_beef_0001);
    let batch = decode_with("value", Float64Array::from(vec![odd, -0.0])).unwrap();
    assert_eq!(batch.value()[0].to_bits(), odd.to_bits());
    assert_eq!(batch.value()[1].to_bits(), (-0.0_f64).to_bits());
}

#[test]
fn i4_refusals_name_row_and_field() {
    let check = |name: &'static str, array: ArrayRef, code, row| {
        let error = decode_bytes(&stream(two_rows_with(vec![(name, array)]))).unwrap_err();
        assert_eq!((error.code, error.row, error.field.as_deref()), (code, row, Some(name)), "{error}");
    };
    check("run_id", Arc::new(StringArray::from(vec![Some("r"), None])), DecodeCode::NullValue, Some(2));
    check("run_id", Arc::new(StringArray::from(vec!["r", ""])), DecodeCode::InvalidName, Some(2));
    check(
        "metric",
        Arc::new(StringViewArray::from(vec!["m".repeat(1025), "m".into()])),
        DecodeCode::InvalidName,
        Some(1),
    );
    check("metric", Arc::new(Int64Array::from(vec![1, 2])), DecodeCode::WrongType, None);
    check("step", Arc::new(Int64Array::from(vec![None, Some(1)])), DecodeCode::NullValue, Some(1));
    check("step", Arc::new(UInt64Array::from(vec![1, u64::MAX])), DecodeCode::OutOfRange, Some(2));
    check("step", Arc::new(Float64Array::from(vec![1.0, 2.0])), DecodeCode::WrongType, None);
    check("step", Arc::new(dictionary::<Int8Type>(&["1", "2"])), DecodeCode::WrongType, None);
    check("timestamp", Arc::new(StringArray::from(vec!["now", "now"])), DecodeCode::WrongType, None);
    check("value", Arc::new(Float64Array::from(vec![Some(1.0), None])), DecodeCode::NullValue, Some(2));
    check("value", Arc::new(Int64Array::from(vec![1, (1 << 53) + 1])), DecodeCode::OutOfRange, Some(2));
    check("value", Arc::new(StringArray::from(vec!["1", "2"])), DecodeCode::WrongType, None);
    check("note", Arc::new(StringArray::from(vec!["1", "2"])), DecodeCode::UnknownField, None);
    let columns = two_rows_with(vec![]).into_iter().filter(|(name, _)| *name != "value").collect();
    let error = decode_bytes(&stream(columns)).unwrap_err();
    assert_eq!((error.code, error.field.as_deref()), (DecodeCode::MissingField, Some("value")));
}

#[test]
fn rows_count_on_over_batches() {
    let first = record_batch(two_rows_with(vec![]));
    let second = record_batch(two_rows_with(vec![("value", Arc::new(Float64Array::from(vec![Some(1.0), None])))]));
    let error = decode_bytes(&write(&[first.clone(), first, second], IpcWriteOptions::default())).unwrap_err();
    assert_eq!((error.code, error.row), (DecodeCode::NullValue, Some(6)));
}

#[test]
fn dictionaries_are_replaced_and_grow_by_deltas() {
    let batch = |rows: &[&str; 2]| {
        record_batch(two_rows_with(vec![("run_id", Arc::new(dictionary::<Int8Type>(rows)) as ArrayRef)]))
    };
    let replaced = write(&[batch(&["a", "b"]), batch(&["c", "a"])], IpcWriteOptions::default());
    let runs =
        |body: &[u8]| -> Vec<String> { names(&decode_bytes(body).unwrap()).into_iter().map(|pair| pair.0).collect() };
    assert_eq!(runs(&replaced), ["a", "b", "c", "a"]);

    let grown = |keys: [i8; 2], values: &[&str]| {
        let array = DictionaryArray::<Int8Type>::new(
            Int8Array::from(keys.to_vec()),
            Arc::new(StringArray::from(values.to_vec())),
        );
        record_batch(two_rows_with(vec![("run_id", Arc::new(array) as ArrayRef)]))
    };
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let body = write(&[grown([0, 1], &["a", "b"]), grown([2, 0], &["a", "b", "c"])], options);
    assert_eq!(runs(&body), ["a", "b", "c", "a"]);
    assert_eq!(decode_bytes(&body).unwrap().series().len(), 4, "(a,loss) (b,acc) (c,loss) (a,acc)");
}

#[test]
fn unused_dictionary_values_are_not_judged_and_used_nulls_are() {
    let with = |keys: Vec<i8>| {
        let values = StringArray::from(vec![Some("r"), Some(""), None]);
        decode_with("run_id", DictionaryArray::<Int8Type>::new(Int8Array::from(keys), Arc::new(values)))
    };
    assert_eq!(names(&with(vec![0, 0]).unwrap())[1], pair("r", "acc"));
    let error = with(vec![0, 1]).unwrap_err();
    assert_eq!((error.code, error.row), (DecodeCode::InvalidName, Some(2)));
    let error = with(vec![2, 0]).unwrap_err();
    assert_eq!((error.code, error.row, error.field.as_deref()), (DecodeCode::NullValue, Some(1), Some("run_id")));
}

fn zeros(compression: Option<CompressionType>, rows: usize) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let batch = record_batch(vec![
        ("run_id", Arc::new(StringArray::from(vec!["r"; rows])) as ArrayRef),
        ("metric", Arc::new(StringArray::from(vec!["m"; rows]))),
        ("step", Arc::new(Int64Array::from(vec![0; rows]))),
        ("value", Arc::new(Float64Array::from(vec![0.0; rows]))),
    ]);
    write(&[batch], options)
}

/// Positions of the length prefixes of all compressed buffers that claim `claim`.
fn prefixes(body: &[u8], claim: i64) -> Vec<usize> {
    (0..body.len() - 8).filter(|&at| body[at..at + 8] == claim.to_le_bytes()).collect()
}

#[test]
fn i9_a_compressed_buffer_that_claims_2_to_the_62_is_refused_before_it_is_allocated() {
    let body = zeros(Some(CompressionType::ZSTD), 4096);
    assert_eq!(decode_bytes(&body).unwrap().len(), 4096);
    let at = prefixes(&body, 4096 * 8);
    assert!(!at.is_empty());
    for claim in [1_i64 << 62, i64::MAX, 8 << 30, BUDGET_BYTES as i64 + 1] {
        let mut hostile = body.clone();
        hostile[at[0]..at[0] + 8].copy_from_slice(&claim.to_le_bytes());
        let error = decode_bytes(&hostile).unwrap_err();
        assert_eq!((error.code, error.limit), (DecodeCode::DecodedTooLarge, Some(BUDGET_BYTES as u64)), "{claim}");
    }
    for claim in [0, 8, -2, i64::MIN] {
        let mut hostile = body.clone();
        hostile[at[0]..at[0] + 8].copy_from_slice(&i64::to_le_bytes(claim));
        assert_eq!(decode_bytes(&hostile).unwrap_err().code, DecodeCode::MalformedArrow, "{claim}");
    }
}

/// The writer here has no LZ4, so the codec's byte in the flatbuffer is changed: found as the one byte change that turns a
/// good stream into this refusal.
#[test]
fn lz4_is_refused_with_advice() {
    let body = zeros(Some(CompressionType::ZSTD), 4096);
    let metadata_end = body.len() / 2;
    let refused = (0..metadata_end).filter(|&at| body[at] == 1).any(|at| {
        let mut lz4 = body.clone();
        lz4[at] = 0;
        let prefix = prefixes(&lz4, 4096 * 8)[0];
        lz4[prefix..prefix + 8].copy_from_slice(&(1_i64 << 62).to_le_bytes());
        decode_bytes(&lz4).is_err_and(|e| e.code == DecodeCode::UnsupportedEncoding && e.message.contains("zstd"))
    });
    assert!(refused);
}

#[test]
fn concatenated_streams_and_files_are_refused() {
    let one = stream(two_rows_with(vec![]));
    let error = decode_bytes(&[one.clone(), one].concat()).unwrap_err();
    assert!(error.message.contains("one stream per request"), "{error}");
    assert_eq!(decode_bytes(b"ARROW1\0\0and so on").unwrap_err().code, DecodeCode::MalformedArrow);
    assert_eq!(decode_bytes(b"").unwrap_err().code, DecodeCode::MalformedArrow);
}

#[test]
fn a_stream_without_rows_is_an_empty_batch() {
    let schema = record_batch(two_rows_with(vec![])).schema();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.finish().unwrap();
    assert!(decode_bytes(&writer.into_inner().unwrap()).unwrap().is_empty());
}

/// One of each layout: plain, view, dictionary, compressed.
fn specimens() -> Vec<Vec<u8>> {
    let mixed = || {
        record_batch(two_rows_with(vec![
            ("run_id", Arc::new(dictionary::<Int8Type>(&["r1", "r2"])) as ArrayRef),
            ("metric", Arc::new(StringViewArray::from(vec!["loss", "a name too long to lie within its view"]))),
            ("timestamp", Arc::new(TimestampMillisecondArray::from(vec![None, Some(1)]))),
        ]))
    };
    let delta = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    vec![stream(two_rows_with(vec![])), write(&[mixed(), mixed()], delta), zeros(Some(CompressionType::ZSTD), 64)]
}

#[test]
fn truncation_anywhere_is_an_error_or_whole_batches() {
    for body in specimens() {
        for cut in 0..body.len() {
            if let Ok(batch) = decode_bytes(&body[..cut]) {
                assert!(batch.len() % 2 == 0, "a batch was cut");
            }
        }
    }
}

#[test]
fn no_single_byte_change_panics_or_aborts() {
    // The decoder of the library may panic on some; what is asserted is that nothing escapes, so keep its noise down.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for body in specimens() {
        for at in 0..body.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut hostile = body.clone();
                hostile[at] ^= flip;
                let _ = decode_bytes(&hostile);
            }
        }
    }
    std::panic::set_hook(hook);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn no_bytes_panic(body: Vec<u8>) {
        let _ = decode_bytes(&body);
        let framed = [&[0xff; 4], &(body.len() as u32).to_le_bytes()[..], &body].concat();
        let _ = decode_bytes(&framed);
    }

    /// I4, I5: what is written is what is read, over any split into batches and any layout of names.
    #[test]
    fn i5_streams_round_trip(rows in proptest::collection::vec((0_u8..5, 0_u8..40, proptest::num::i64::ANY, proptest::num::u64::ANY), 1..200), split in 1_usize..50, plain: bool) {
        let text = |names: Vec<String>| -> ArrayRef {
            if plain {
                Arc::new(StringArray::from(names))
            } else {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Arc::new(dictionary::<UInt32Type>(&names))
            }
        };
        let batches: Vec<RecordBatch> = rows.chunks(split).map(|rows| record_batch(vec![
            ("value", Arc::new(rows.iter().map(|row| f64::from_bits(row.3)).collect::<Float64Array>()) as ArrayRef),
            ("run_id", text(rows.iter().map(|row| format!("r{}", row.0)).collect())),
            ("metric", text(rows.iter().map(|row| format!("m{}", row.1)).collect())),
            ("step", Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>())),
        ])).collect();
        let batch = decode_bytes(&write(&batches, IpcWriteOptions::default())).unwrap();
        let read = names(&batch);
        for (i, row) in rows.iter().enumerate() {
            proptest::prop_assert_eq!(&read[i], &pair(&format!("r{}", row.0), &format!("m{}", row.1)));
            proptest::prop_assert_eq!(batch.step()[i], row.2);
            proptest::prop_assert_eq!(batch.value()[i].to_bits(), row.3);
        }
    }
}

#[test]
fn a_type_nobody_reads_is_named() {
    let error = decode_with("value", arrow::array::BooleanArray::from(vec![true, false])).unwrap_err();
    assert_eq!((error.code, error.field.as_deref()), (DecodeCode::WrongType, Some("value")));
    assert!(error.message.contains("Bool"), "{error}");
}
