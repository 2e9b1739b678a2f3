//! The invariants by number, so that tests and errors name the one they hold.

/// The invariants of the design, ARCHITECTURE.md §Invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// I1: acknowledged is durable.
    AckedIsDurable,
    /// I2: read your writes.
    ReadYourWrites,
    /// I3: (producer, sequence) is applied at most once.
    Once,
    /// I4: nothing silently dropped.
    NothingDropped,
    /// I5: values round-trip bit for bit.
    Bits,
    /// I6: all points kept.
    AllPointsKept,
    /// I7: crash anywhere.
    CrashAnywhere,
    /// I8: fail stop on a failed fsync.
    FailStop,
    /// I9: bounded memory.
    BoundedMemory,
    /// I10: snapshots.
    Snapshots,
    /// I11: detect rot.
    DetectRot,
    /// I12: open and versioned.
    OpenFormats,
}
