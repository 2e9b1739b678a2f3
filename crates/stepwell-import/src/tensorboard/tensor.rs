//! The one number of a scalar `TensorProto`.

use super::proto::{Malformed, Message, Value, fixed, varint};

const DT_FLOAT: u64 = 1;
const DT_DOUBLE: u64 = 2;
const DT_INT32: u64 = 3;
const DT_INT64: u64 = 9;

#[derive(Default)]
struct Tensor<'a> {
    dtype: u64,
    /// Product of the dimensions; 1 for a scalar.
    elements: Option<u64>,
    content: &'a [u8],
    /// Values of the list that belongs to the type, first and count.
    listed: Option<(f64, usize)>,
}

/// The number in a tensor of one element; `None` for tensors of other shapes or types.
pub(super) fn scalar(bytes: &[u8]) -> Result<Option<f64>, Malformed> {
    let mut tensor = Tensor::default();
    let mut message = Message::new(bytes);
    while let Some((field, value)) = message.next()? {
        tensor.read(field, value)?;
    }
    if tensor.elements.unwrap_or(1) != 1 {
        return Ok(None);
    }
    if !matches!(tensor.dtype, DT_FLOAT | DT_DOUBLE | DT_INT32 | DT_INT64) {
        return Ok(None);
    }
    match tensor.listed {
        Some((value, 1)) => Ok(Some(value)),
        Some(_) => Ok(None),
        // A tensor that lists nothing is zero, as TensorFlow reads it.
        None if tensor.content.is_empty() => Ok(Some(0.0)),
        None => from_content(tensor.dtype, tensor.content).map(Some),
    }
}

impl<'a> Tensor<'a> {
    fn read(&mut self, field: u64, value: Value<'a>) -> Result<(), Malformed> {
        match (field, value) {
            (1, Value::Varint(dtype)) => self.dtype = dtype,
            (2, Value::Bytes(shape)) => self.elements = Some(elements(shape)?),
            (4, Value::Bytes(content)) => self.content = content,
            (5, Value::Fixed32(bits)) => self.add(f64::from(f32::from_le_bytes(bits))),
            (6, Value::Fixed64(bits)) => self.add(f64::from_le_bytes(bits)),
            (7 | 10, Value::Varint(value)) => self.add(integer(value)),
            (5..=7 | 10, Value::Bytes(packed)) => self.add_packed(field, packed)?,
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, value: f64) {
        let (first, count) = self.listed.unwrap_or((value, 0));
        self.listed = Some((first, count + 1));
    }

    fn add_packed(&mut self, field: u64, mut packed: &[u8]) -> Result<(), Malformed> {
        while !packed.is_empty() {
            let value = match field {
                5 => f64::from(f32::from_le_bytes(fixed(&mut packed)?)),
                6 => f64::from_le_bytes(fixed(&mut packed)?),
                _ => integer(varint(&mut packed)?),
            };
            self.add(value);
        }
        Ok(())
    }
}

/// Negative integers are written as their 64-bit two's complement. Beyond 2^53 the nearest float is kept.
fn integer(value: u64) -> f64 {
    value.cast_signed() as f64
}

fn from_content(dtype: u64, mut content: &[u8]) -> Result<f64, Malformed> {
    let value = match dtype {
        DT_FLOAT => f64::from(f32::from_le_bytes(fixed(&mut content)?)),
        DT_DOUBLE => f64::from_le_bytes(fixed(&mut content)?),
        DT_INT32 => f64::from(i32::from_le_bytes(fixed(&mut content)?)),
        _ => i64::from_le_bytes(fixed(&mut content)?) as f64,
    };
    if content.is_empty() { Ok(value) } else { Err(Malformed) }
}

/// Product of the dimensions of a `TensorShapeProto`.
fn elements(shape: &[u8]) -> Result<u64, Malformed> {
    let mut product = 1_u64;
    let mut message = Message::new(shape);
    while let Some((field, value)) = message.next()? {
        let (2, Value::Bytes(dimension)) = (field, value) else { continue };
        let mut size = 0;
        let mut dimension = Message::new(dimension);
        while let Some((field, value)) = dimension.next()? {
            if let (1, Value::Varint(value)) = (field, value) {
                size = value;
            }
        }
        product = product.saturating_mul(size);
    }
    Ok(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_read_from_each_form_and_nothing_from_others() {
        let double = [&[0x08, 2, 0x32, 8][..], &0.1_f64.to_le_bytes()].concat();
        assert_eq!(scalar(&double), Ok(Some(0.1)));
        let unpacked = [&[0x08, 1, 0x2d][..], &0.5_f32.to_le_bytes()].concat();
        assert_eq!(scalar(&unpacked), Ok(Some(0.5)));
        let content = [&[0x08, 9, 0x22, 8][..], &(-3_i64).to_le_bytes()].concat();
        assert_eq!(scalar(&content), Ok(Some(-3.0)));
        let vector = [&[0x08, 1, 0x12, 4, 0x12, 2, 0x08, 2, 0x2a, 8][..], &[0; 8]].concat();
        assert_eq!(scalar(&vector), Ok(None));
        assert_eq!(scalar(&[0x08, 7, 0x42, 1, b'x']), Ok(None), "text");
        assert_eq!(scalar(&[0x08, 1, 0x22, 3, 0, 0, 0]), Err(Malformed));
    }
}
