//! The outbox's queue: memory up to a bound, then a file, in order.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use crate::{ClientError, spool::Spool};

/// Names kept to be shared; forgotten together when there are too many.
const NAMES_MAX: usize = 65_536;

/// One point that waits.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) run_id: Arc<str>,
    pub(crate) metric: Arc<str>,
    pub(crate) step: i64,
    pub(crate) timestamp_us: i64,
    pub(crate) value: f64,
}

/// Points in the order of [`Queue::push`].
pub(crate) struct Queue {
    memory: VecDeque<Point>,
    limit_points: usize,
    spool: Spool,
    names: HashSet<Arc<str>>,
}

impl Queue {
    /// An empty queue that keeps `memory_bytes` of points before it writes to `spool_path`.
    pub(crate) fn new(memory_bytes: usize, spool_path: PathBuf) -> Self {
        let limit_points = (memory_bytes / size_of::<Point>()).max(1);
        Self { memory: VecDeque::new(), limit_points, spool: Spool::new(spool_path), names: HashSet::new() }
    }

    /// Points that wait.
    pub(crate) fn len(&self) -> u64 {
        self.memory.len() as u64 + self.spool.len()
    }

    /// Points that wait in the file.
    pub(crate) fn spooled(&self) -> u64 {
        self.spool.len()
    }

    /// The one copy of a name.
    pub(crate) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.names.get(name) {
            return name.clone();
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    /// Appends points: all of them, or none if it fails.
    pub(crate) fn push(&mut self, points: Vec<Point>) -> Result<(), ClientError> {
        // Once something is in the file, all that follows goes there, or it would overtake.
        let room = if self.spool.len() == 0 { self.limit_points.saturating_sub(self.memory.len()) } else { 0 };
        let in_memory = room.min(points.len());
        self.spool.push(&points[in_memory..])?;
        self.memory.extend(points.into_iter().take(in_memory));
        Ok(())
    }

    /// Takes up to `limit` points from the front.
    pub(crate) fn take(&mut self, limit: usize) -> Result<Vec<Point>, ClientError> {
        let mut points: Vec<Point> = self.memory.drain(..limit.min(self.memory.len())).collect();
        if points.is_empty() && self.spool.len() > 0 {
            points = self.spool.take(limit)?;
        }
        Ok(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_past_the_memory_bound_come_back_in_order_and_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut queue = Queue::new(10 * size_of::<Point>(), path.clone());
        let push = |queue: &mut Queue, step: i64| {
            let (run_id, metric) = (queue.name("r"), queue.name("m"));
            queue.push(vec![Point { run_id, metric, step, timestamp_us: 0, value: step as f64 }]).unwrap();
        };
        (0..100).for_each(|step| push(&mut queue, step));
        assert_eq!((queue.len(), queue.spooled()), (100, 90));
        let mut steps = Vec::new();
        steps.extend(queue.take(30).unwrap().iter().map(|p| p.step));
        (100..120).for_each(|step| push(&mut queue, step));
        while queue.len() > 0 {
            steps.extend(queue.take(7).unwrap().iter().map(|p| p.step));
        }
        assert_eq!(steps, (0..120).collect::<Vec<_>>());
        assert!(!path.exists());
        push(&mut queue, 1);
        assert_eq!(queue.spooled(), 0, "memory is used again");
    }

    /// Who logs again what was refused would have had the first points of it twice.
    #[test]
    fn i4_a_call_is_taken_whole_or_refused_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let mut queue = Queue::new(10 * size_of::<Point>(), path.clone());
        let point = |step| Point { run_id: "r".into(), metric: "m".into(), step, timestamp_us: 0, value: 0.0 };
        queue.push((0..8).map(point).collect()).unwrap();
        // Something else has the name of the file.
        std::fs::create_dir(&path).unwrap();
        let call: Vec<Point> = (8..12).map(point).collect();
        queue.push(call.clone()).unwrap_err();
        assert_eq!(queue.len(), 8);
        std::fs::remove_dir(&path).unwrap();
        queue.push(call).unwrap();
        let mut steps = Vec::new();
        while queue.len() > 0 {
            steps.extend(queue.take(7).unwrap().iter().map(|point| point.step));
        }
        assert_eq!(steps, (0..12).collect::<Vec<_>>());
    }
}
