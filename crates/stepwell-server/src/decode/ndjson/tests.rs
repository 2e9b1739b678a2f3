use super::*;
use crate::decode::InFlight;

fn budget() -> Budget {
    Budget::new(InFlight::new(1 << 20), 1 << 20)
}

fn decode(body: &[u8], now_us: i64) -> Result<Batch, DecodeError> {
    super::decode(body, now_us, &mut budget())
}

fn line(value: &str) -> String {
    format!("{{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1,\"timestamp\":2,\"value\":{value}}}")
}

#[test]
fn i5_values_come_through_bit_for_bit() {
    let cases: [(&str, f64); 9] = [
        ("1", 1.0),
        ("-0.0", -0.0),
        ("-0", -0.0),
        ("5e-324", 5e-324),
        ("1.7976931348623157e308", f64::MAX),
        ("0.1", 0.1),
        ("\"Infinity\"", f64::INFINITY),
        ("\"-Infinity\"", f64::NEG_INFINITY),
        ("123456789012345678", 123_456_789_012_345_678.0),
    ];
    for (text, expected) in cases {
        let batch = decode(line(text).as_bytes(), 0).unwrap();
        assert_eq!(batch.value()[0].to_bits(), expected.to_bits(), "{text}");
    }
    assert!(decode(line("\"NaN\"").as_bytes(), 0).unwrap().value()[0].is_nan());
}

proptest::proptest! {
    /// I5: the shortest text of any finite float reads back to the same bits.
    #[test]
    fn i5_any_float_round_trips(bits: u64) {
        let value = f64::from_bits(bits);
        if value.is_finite() {
            let batch = decode(line(&format!("{value:?}")).as_bytes(), 0).unwrap();
            proptest::prop_assert_eq!(batch.value()[0].to_bits(), bits);
        }
    }

    #[test]
    fn no_bytes_panic(body: Vec<u8>) {
        let _ = decode(&body, 0);
        let _ = super::super::log::decode(&body, &mut budget());
    }

    #[test]
    fn no_mutation_panics(at in 0_usize..80, byte: u8) {
        let mut body = line("\"NaN\"").into_bytes();
        let at = at % body.len();
        body[at] = byte;
        let _ = decode(&body, 0);
        let log = b"{\"step\":1,\"metrics\":{\"a\":-0.0,\"b\":[{}]}}\n{\"metrics\":{}}";
        let mut log = log.to_vec();
        let at = at % log.len();
        log[at] = byte;
        let _ = super::super::log::decode(&log, &mut budget());
    }
}

#[test]
fn rows_become_series_in_order_of_appearance() {
    let body = "{\"run_id\":\"r\",\"metric\":\"a\",\"step\":-9223372036854775808,\"value\":1}\n\
                \n\
                {\"run_id\":\"r\",\"metric\":\"b\",\"step\":1,\"timestamp\":null,\"value\":2}\r\n\
                {\"value\":3,\"run_id\":\"r\",\"metric\":\"a\",\"step\":2,\"timestamp\":\"1970-01-01T00:00:00.000007Z\"}";
    let batch = decode(body.as_bytes(), 42).unwrap();
    assert_eq!(batch.series_index(), [0, 1, 0]);
    assert_eq!(batch.step(), [i64::MIN, 1, 2]);
    assert_eq!(batch.timestamp_us(), [42, 42, 7]);
    assert_eq!(&*batch.series()[1].metric, "b");
}

#[test]
fn i4_refusals_name_line_and_field() {
    let good = line("1");
    let check = |bad: &str, code, field: Option<&str>| {
        let error = decode(format!("{good}\n{bad}\n{good}").as_bytes(), 0).unwrap_err();
        assert_eq!((error.code, error.row, error.field.as_deref()), (code, Some(2), field), "{bad}: {error}");
    };
    check("{", DecodeCode::MalformedJson, None);
    check("[]", DecodeCode::MalformedJson, None);
    check("{} {}", DecodeCode::MalformedJson, None);
    check("{}", DecodeCode::MissingField, Some("run_id"));
    check("{\"run_id\":\"r\",\"metric\":\"m\",\"step\":1}", DecodeCode::MissingField, Some("value"));
    check("{\"run_id\":1}", DecodeCode::WrongType, Some("run_id"));
    check("{\"run_id\":null}", DecodeCode::NullValue, Some("run_id"));
    check("{\"run_id\":\"\"}", DecodeCode::InvalidName, Some("run_id"));
    check("{\"run_id\":\"a\\u0000\"}", DecodeCode::InvalidName, Some("run_id"));
    check("{\"loss\":1}", DecodeCode::UnknownField, Some("loss"));
    check("{\"step\":1,\"step\":1}", DecodeCode::MalformedJson, Some("step"));
    check(&line("null"), DecodeCode::NullValue, Some("value"));
    check(&line("\"nan\""), DecodeCode::WrongType, Some("value"));
    check(&line("1e999"), DecodeCode::MalformedJson, None);
    check(&good.replace("\"step\":1", "\"step\":18446744073709551615"), DecodeCode::OutOfRange, Some("step"));
    check(&good.replace("\"step\":1", "\"step\":1.0"), DecodeCode::WrongType, Some("step"));
    check(&good.replace("\"timestamp\":2", "\"timestamp\":\"yesterday\""), DecodeCode::WrongType, Some("timestamp"));
    let long = "x".repeat(limits::METRIC_BYTES_MAX + 1);
    let error = decode(good.replace("\"m\"", &format!("\"{long}\"")).as_bytes(), 0).unwrap_err();
    assert_eq!((error.code, error.limit), (DecodeCode::InvalidName, Some(1024)));
}
