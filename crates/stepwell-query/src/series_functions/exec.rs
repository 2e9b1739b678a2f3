//! Reading series one by one, each whole, and handing out what is made of it.

use std::{fmt, ops::Range, sync::Arc};

use datafusion::{
    arrow::{
        array::{
            ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray,
            TimestampMicrosecondArray, make_view,
        },
        buffer::Buffer,
        datatypes::SchemaRef,
    },
    common::{DataFusionError, Result, exec_err, internal_err, runtime::SpawnedTask, tree_node::TreeNodeRecursion},
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use stepwell_engine::Snapshot;
use stepwell_kernels::{align, grid_steps, lttb_rows, m4_rows, min_max_rows};
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey};

use super::{Call, Work};

/// Bytes that a point takes while its series is read: its columns, and once more where they are sorted.
const POINT_BYTES: usize = 2 * SeriesColumns::POINT_BYTES;
/// Bytes of a grid step: as pairs, and as columns.
const GRID_STEP_BYTES: usize = 32;
/// Rows of a batch: of a grid step as of a point.
const BATCH_ROWS: usize = 8_192;
/// Most grid steps of one series.
const GRID_STEPS_MAX: u64 = 1_000_000;

/// A series and how many points it has.
type Counted = (SeriesKey, u64);

pub(super) struct SeriesExec {
    snapshot: Snapshot,
    call: Call,
    series: Arc<Vec<Counted>>,
    projection: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for SeriesExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeriesExec({:?}, {} series)", self.call, self.series.len())
    }
}

impl SeriesExec {
    pub(super) fn new(
        snapshot: Snapshot,
        call: Call,
        series: Vec<Counted>,
        schema: &SchemaRef,
        projection: Vec<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(schema.project(&projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { snapshot, call, series: Arc::new(series), projection, properties: Arc::new(properties) })
    }
}

impl DisplayAs for SeriesExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeriesExec: {}, metric={}, series={}", self.call.name, self.call.metric, self.series.len())
    }
}

impl ExecutionPlan for SeriesExec {
    fn name(&self) -> &str {
        "SeriesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("SeriesExec has no children") }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reading = Reading {
            snapshot: self.snapshot.clone(),
            work: self.call.work,
            series: self.series.clone(),
            next: 0,
            made: None,
            schema: self.schema(),
            projection: self.projection.clone(),
            memory: MemoryConsumer::new(self.call.name).register(context.memory_pool()),
        };
        let batches = futures::stream::try_unfold(reading, |reading| async move {
            let next = SpawnedTask::spawn_blocking(move || reading.next()).join_unwind().await;
            next.map_err(|error| DataFusionError::External(Box::new(error)))?
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// The series not yet handed out. Blocks on memory and disk.
struct Reading {
    snapshot: Snapshot,
    work: Work,
    series: Arc<Vec<Counted>>,
    next: usize,
    /// What is left of the series before the next.
    made: Option<Made>,
    schema: SchemaRef,
    projection: Vec<usize>,
    memory: MemoryReservation,
}

/// What is made of one series.
struct Made {
    run: Buffer,
    step: Vec<i64>,
    /// Empty where the table has no such column.
    timestamp_us: Vec<i64>,
    value: Vec<f64>,
    /// Rows that are handed out.
    done: usize,
}

impl Reading {
    /// The next batch, and the rest.
    fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let made = match self.made.take() {
            Some(made) => made,
            None => match self.make()? {
                Some(made) => made,
                None => return Ok(None),
            },
        };
        let rows = made.done..made.step.len().min(made.done + BATCH_ROWS);
        let batch = self.batch(&made, rows.clone())?;
        self.made = (rows.end < made.step.len()).then_some(Made { done: rows.end, ..made });
        Ok(Some((batch, self)))
    }

    /// What is made of the next series.
    fn make(&mut self) -> Result<Option<Made>> {
        let series = self.series.clone();
        let Some((key, count)) = series.get(self.next) else { return Ok(None) };
        self.next += 1;
        self.memory.try_resize(usize::try_from(*count).unwrap_or(usize::MAX).saturating_mul(POINT_BYTES))?;
        let points = self.snapshot.series(key, &PointFilter::default());
        let mut points = points.map_err(|error| DataFusionError::External(Box::new(error)))?;
        points.keep_last_per_step();
        let rows = match self.work {
            Work::MinMax { buckets } => min_max_rows(&points, buckets),
            Work::M4 { buckets } => m4_rows(&points, buckets),
            Work::Lttb { points: count } => lttb_rows(&points, count),
            Work::Align { grid, alignment } => {
                self.memory.try_grow(grid_steps_of(key, &points, grid)? * GRID_STEP_BYTES)?;
                let (step, value) = align(&points, grid, alignment).into_iter().unzip();
                return Ok(Some(Made::of(key, step, Vec::new(), value)));
            }
        };
        let step = rows.iter().map(|row| points.step[*row]).collect();
        let timestamp_us = rows.iter().map(|row| points.timestamp_us[*row]).collect();
        let value = rows.iter().map(|row| points.value[*row]).collect();
        Ok(Some(Made::of(key, step, timestamp_us, value)))
    }

    /// Some of its rows, of the wanted columns.
    fn batch(&self, made: &Made, rows: Range<usize>) -> Result<RecordBatch> {
        let mut columns = vec![made.run_ids(rows.len())?, Arc::new(Int64Array::from(made.step[rows.clone()].to_vec()))];
        if !matches!(self.work, Work::Align { .. }) {
            let time = TimestampMicrosecondArray::from(made.timestamp_us[rows.clone()].to_vec());
            columns.push(Arc::new(time.with_timezone("UTC")));
        }
        columns.push(Arc::new(Float64Array::from(made.value[rows.clone()].to_vec())));
        let columns: Vec<ArrayRef> = self.projection.iter().map(|at| columns[*at].clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl Made {
    fn of(key: &SeriesKey, step: Vec<i64>, timestamp_us: Vec<i64>, value: Vec<f64>) -> Self {
        Self { run: Buffer::from(key.run_id.as_bytes()), step, timestamp_us, value, done: 0 }
    }

    /// One view per row into the one text.
    fn run_ids(&self, rows: usize) -> Result<ArrayRef> {
        let view = make_view(&self.run, 0, 0);
        Ok(Arc::new(StringViewArray::try_new(vec![view; rows].into(), vec![self.run.clone()], None)?))
    }
}

/// How many grid steps a series has; refuses a grid so fine that a few points would become billions.
fn grid_steps_of(key: &SeriesKey, points: &SeriesColumns, grid: i64) -> Result<usize> {
    let (Some(&first), Some(&last)) = (points.step.first(), points.step.last()) else { return Ok(0) };
    let count = grid_steps(first, last, grid);
    if count > GRID_STEPS_MAX {
        let run = &key.run_id;
        return exec_err!(
            "align: run {run} has {count} grid steps, the limit is {GRID_STEPS_MAX}: take a coarser grid"
        );
    }
    Ok(count as usize)
}
