//! What JSON takes in memory once it is read.

/// What an object takes beside its members, and what any value does while its list grows, bytes. An object of nine bytes takes 84
/// times as much.
const OBJECT_BYTES: usize = 700;
const VALUE_BYTES: usize = 120;

/// The most that a tree of the values of `text` takes beside its texts, bytes: for a budget, before it is read.
pub fn json_tree_bytes(text: &[u8]) -> usize {
    // Each value but the first follows one of these bytes; those within texts are few enough to be counted too.
    let bytes_of = |byte: &u8| match byte {
        b'{' => OBJECT_BYTES,
        b'[' | b',' | b':' => VALUE_BYTES,
        _ => 0,
    };
    text.iter().map(bytes_of).sum()
}
