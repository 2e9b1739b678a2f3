//! What values of JSON take in memory: many times their text where that is short.

use serde_json::Value;

/// What a text takes beside its bytes: where they are, and what they are rounded up to.
const TEXT_BYTES: usize = 32;
/// A node of a map has room for eleven members; one that is not alone has at least five.
const NODE_BYTES: usize = 640;
const MEMBER_BYTES: usize = NODE_BYTES / 5;
/// A list that grew has room for twice as many at most, and for four at least.
const ITEM_BYTES: usize = 2 * size_of::<Value>();
const LIST_BYTES: usize = 4 * size_of::<Value>();

/// The most that a value takes beside its own place, bytes: for a budget.
pub fn tree_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => TEXT_BYTES + text.len(),
        Value::Array(items) if items.is_empty() => 0,
        Value::Object(members) if members.is_empty() => 0,
        Value::Array(items) => LIST_BYTES + items.iter().map(|item| ITEM_BYTES + tree_bytes(item)).sum::<usize>(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| MEMBER_BYTES + TEXT_BYTES + name.len() + tree_bytes(value);
            NODE_BYTES + members.iter().map(member).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_allocation::{CountingAllocator, peak_bytes};

    use super::*;

    #[global_allocator]
    static ALLOCATOR: CountingAllocator = CountingAllocator;

    #[test]
    fn i9_a_tree_takes_no_more_than_is_counted_and_not_much_less() {
        let members = |count: usize| -> Value { (0..count).map(|number| (format!("{number:03}"), json!(1))).collect() };
        for value in [
            json!("x".repeat(100)),
            json!({"": 0}),
            json!({"key": "k", "value": "v"}),
            members(12),
            members(1_000),
            json!(vec![json!({"": 0}); 1_000]),
            json!(vec![json!([]); 1_000]),
            json!(vec![members(11); 100]),
            json!({"assessment_id": "a-1", "source": {"source_type": "HUMAN", "source_id": "ada"}, "feedback": {"value": 0.5}}),
        ] {
            let counted = tree_bytes(&value);
            let (copy, held) = peak_bytes(|| value.clone());
            assert!(held <= counted && counted <= 4 * held + LIST_BYTES, "{held} are counted as {counted}: {copy}");
        }
    }
}
