//! What clients read.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, StringViewArray},
    ipc::reader::StreamReader,
};

use super::*;

fn encode(format: ResultFormat) -> String {
    let value: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-0.0), None, Some(f64::NEG_INFINITY)]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a,\"b\"", "", "c", "d\n"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("v", value, true), ("t", text, false)]).unwrap();
    let mut encoder = ResultEncoder::new(format, batch.schema()).unwrap();
    let mut out = encoder.push(&batch).unwrap();
    out.extend(encoder.finish().unwrap());
    String::from_utf8(out).unwrap()
}

#[test]
fn i5_json_and_csv_keep_what_json_has_no_number_for() {
    let rows = r#"{"v":"NaN","t":"a,\"b\""},{"v":-0.0,"t":""},{"v":null,"t":"c"},{"v":"-Infinity","t":"d\n"}"#;
    let json = encode(ResultFormat::Json);
    assert!(json.starts_with(r#"{"schema":[{"name":"v","type":"Float64","nullable":true},"#), "{json}");
    assert!(json.contains(rows), "{json}");
    assert_eq!(encode(ResultFormat::Ndjson).replace("}\n", "},"), format!("{rows},"));
    assert_eq!(encode(ResultFormat::Csv), "v,t\r\nNaN,\"a,\"\"b\"\"\"\r\n-0.0,\"\"\r\n,c\r\n-Infinity,\"d\n\"\r\n");
}

/// Of two values of one name readers of JSON keep the last.
#[test]
fn i4_columns_of_one_name_have_names_of_their_own_in_json() {
    let column = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let names = ["v", "v", "t", "v:1", "v", "t"];
    let columns = names.iter().zip(0..).map(|(name, value)| (*name, column(f64::from(value))));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let encoded = |format| {
        let mut encoder = ResultEncoder::new(format, batch.schema()).unwrap();
        let mut out = encoder.push(&batch).unwrap();
        out.extend(encoder.finish().unwrap());
        String::from_utf8(out).unwrap()
    };
    let row = r#"{"v":0.0,"v:2":1.0,"t":2.0,"v:1":3.0,"v:3":4.0,"t:1":5.0}"#;
    let json = encoded(ResultFormat::Json);
    assert!(json.contains(row) && json.contains(r#"{"name":"v:3","type":"Float64","#), "{json}");
    assert_eq!(encoded(ResultFormat::Ndjson), format!("{row}\n"));
    assert_eq!(encoded(ResultFormat::Csv), "v,v,t,v:1,v,t\r\n0.0,1.0,2.0,3.0,4.0,5.0\r\n");
}

#[test]
fn arrow_streams_hold_no_views() {
    let text: ArrayRef =
        Arc::new(StringViewArray::from(vec![Some("a long enough text to lie outside"), None, Some("")]));
    let batch = RecordBatch::try_from_iter([("t", text)]).unwrap();
    let mut encoder = ResultEncoder::new(ResultFormat::Arrow, batch.schema()).unwrap();
    let mut out = encoder.push(&batch).unwrap();
    out.extend(encoder.finish().unwrap());
    let read = StreamReader::try_new(&out[..], None).unwrap().next().unwrap().unwrap();
    let read: Vec<_> = read.column(0).as_string::<i32>().iter().collect();
    assert_eq!(read, [Some("a long enough text to lie outside"), None, Some("")]);
}
