//! Running one query within its budgets.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    common::{ParamValues, ScalarValue, TableReference},
    execution::{
        SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        object_store::ObjectStoreUrl,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
        session_state::SessionState,
    },
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream},
    prelude::SessionConfig,
    sql::parser::Statement,
};
use futures::{Stream, StreamExt};
use stepwell_engine::{ReadMemory, Reader, Snapshot};
use stepwell_metadata::Metadata;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, Sleep},
};

use crate::{
    catalog::{CATALOG, Catalog, QueryContext, RowsCache, TABLES},
    config::QueryConfig,
    ended::{Ended, yielding},
    error::QueryError,
    field_access::FieldAccessPlanner,
    filter_names::planner_rules,
    functions::{self, bounded},
    guard::{REFUSED_FUNCTIONS, admit},
    memory::QueryPool,
    nearest::nearest,
    pieces::pieces,
    plan_check::check_plan,
    run_aggregate::AggregateRuns,
    series_functions,
    sized_arrays::NoSizedArrays,
    stats::{Counted, Counters, Late, Outcome, QueryStats},
};

/// Keys of one side of a join up to which the scan of the other reads only those. The planner's own bounds are for files that
/// cannot skip names.
const JOIN_KEYS_MAX: usize = 10_000;
const JOIN_KEYS_BYTES_MAX: usize = 1 << 20;
/// Planning recurses; with this much stack and the bounds of `guard` it ends before the stack does.
pub(crate) const STACK_BYTES: usize = 16 << 20;
/// Batches that wait between the query and its reader.
const BATCHES_AHEAD: usize = 4;
/// Threads that read segments and memory, for each that computes.
const READERS_PER_THREAD: usize = 4;
/// How long a query's own task may take to see that its time is over, before its caller is told without it.
const DEADLINE_GRACE: Duration = Duration::from_secs(1);

/// A query, its default project, and its params.
#[derive(Debug, Clone, Default)]
pub struct QueryRequest {
    pub sql: String,
    /// Name of the project whose tables need no schema.
    pub project: Option<String>,
    /// Values for `$1`, `$2`, …
    pub params: Vec<serde_json::Value>,
}

/// Runs queries. Has threads of its own, so that a heavy query takes none from ingest.
pub struct QueryEngine {
    config: QueryConfig,
    metadata: Metadata,
    cache: Arc<RowsCache>,
    memory: ReadMemory,
    permits: Arc<Semaphore>,
    counters: Arc<Counters>,
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        // Dropping a runtime waits for its tasks, which an async caller must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Rows of a query, as they come. Dropping it cancels the query.
pub struct QueryStream {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    task: RunningQuery,
    /// The reader's own clock: a query that never yields cannot be told that its time is over.
    deadline: Pin<Box<Sleep>>,
    limit: Duration,
    is_late: Late,
    is_over: bool,
}

impl std::fmt::Debug for QueryStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl QueryStream {
    /// Columns of the result.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let item = match self.batches.poll_recv(context) {
            Poll::Ready(Some(item)) => Some(item),
            // Without rows left, whether all came is known by how the task ended.
            Poll::Ready(None) => match ready!(Pin::new(&mut self.task.task).poll(context)) {
                Err(error) if error.is_panic() => Some(Err(QueryError::Broken)),
                _ => None,
            },
            Poll::Pending => {
                ready!(self.deadline.as_mut().poll(context));
                self.is_late.note();
                self.task.end();
                Some(Err(QueryError::Deadline { limit: self.limit }))
            }
        };
        self.is_over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

impl QueryEngine {
    /// Starts the threads.
    pub fn new(config: QueryConfig, metadata: Metadata) -> Result<Self, QueryError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_stack_size(STACK_BYTES)
            .thread_name("stepwell-query")
            .max_blocking_threads(config.threads.max(1) * READERS_PER_THREAD)
            .enable_time()
            .build()
            .map_err(|source| QueryError::Runtime { source })?;
        let permits = Arc::new(Semaphore::new(config.concurrency.max(1)));
        let (counters, memory) = (Arc::default(), ReadMemory::new(config.memory_bytes));
        Ok(Self { config, metadata, cache: Arc::default(), memory, permits, counters, runtime: Some(runtime) })
    }

    /// The memory that queries share with others who read.
    pub fn memory(&self) -> &ReadMemory {
        &self.memory
    }

    /// What became of queries so far.
    pub fn stats(&self) -> QueryStats {
        QueryStats {
            running_limit: self.config.concurrency.max(1) as u64,
            memory_bytes: self.memory.used() as u64,
            memory_limit_bytes: self.config.memory_bytes as u64,
            ..self.counters.read()
        }
    }

    /// Plans a query and starts it, over what is visible when its turn comes: who waits holds no memory of points. It ends at the
    /// deadline, or when the stream is dropped.
    pub async fn query(
        &self,
        snapshot: impl FnOnce() -> Snapshot + Send + 'static,
        request: QueryRequest,
    ) -> Result<QueryStream, QueryError> {
        let Some(runtime) = &self.runtime else { return Err(QueryError::Cancelled) };
        let limit = self.config.deadline;
        let (plan_out, planned) = oneshot::channel();
        let (out, batches) = mpsc::channel(BATCHES_AHEAD);
        let context = Planning {
            config: self.config.clone(),
            metadata: self.metadata.clone(),
            cache: self.cache.clone(),
            memory: self.memory.clone(),
        };
        let permits = self.permits.clone();
        let last_word = out.clone();
        let is_late = Late::default();
        let mut counted = Counted::new(&self.counters, is_late.clone());
        let ended = Ended::after(limit);
        let watch = ended.clone();
        let task = runtime.spawn(async move {
            let query = &mut counted;
            let work = async move {
                let Ok(_permit) = permits.acquire_owned().await else { return };
                query.runs();
                // Holds what planning reads until the last batch is out.
                let reader = context.memory.reader();
                // The plan has the only snapshot from here on, and gives back parts of it as they are read.
                match context.start(snapshot(), &reader, request, &watch).await {
                    Ok((plan, stream)) => {
                        query.planned(plan);
                        // A caller that has gone ends the query here or at its first batch.
                        if plan_out.send(Ok(stream.schema())).is_ok() {
                            query.ends(context.pump(stream, out).await);
                        }
                    }
                    Err(error) => {
                        query.ends(Outcome::of(&error, true));
                        drop(plan_out.send(Err(error)));
                    }
                }
            };
            if tokio::time::timeout(limit, work).await.is_err() {
                counted.ends(Outcome::OverDeadline);
                drop(last_word.send(Err(QueryError::Deadline { limit })).await);
            }
        });
        let mut task = RunningQuery { task, ended };
        let deadline = Instant::now() + limit + DEADLINE_GRACE;
        let schema = match tokio::time::timeout_at(deadline, planned).await {
            Ok(Ok(result)) => result?,
            Err(_) => {
                is_late.note();
                return Err(QueryError::Deadline { limit });
            }
            // The planner was dropped: by the deadline, or by a panic.
            Ok(Err(_)) => match tokio::time::timeout_at(deadline, &mut task.task).await {
                Ok(Err(error)) if error.is_panic() => return Err(QueryError::Broken),
                _ => return Err(QueryError::Deadline { limit }),
            },
        };
        let deadline = Box::pin(tokio::time::sleep_until(deadline));
        Ok(QueryStream { schema, batches, task, deadline, limit, is_late, is_over: false })
    }
}

/// Cancels the query when its caller goes away, be it before it is planned.
struct RunningQuery {
    task: JoinHandle<()>,
    ended: Ended,
}

impl RunningQuery {
    fn end(&self) {
        self.ended.cancel();
        self.task.abort();
    }
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        self.end();
    }
}

struct Planning {
    config: QueryConfig,
    metadata: Metadata,
    cache: Arc<RowsCache>,
    memory: ReadMemory,
}

impl Planning {
    async fn start(
        &self,
        snapshot: Snapshot,
        reader: &Arc<Reader>,
        request: QueryRequest,
        ended: &Ended,
    ) -> Result<(Arc<dyn ExecutionPlan>, SendableRecordBatchStream), QueryError> {
        let planning = |error| QueryError::from_datafusion(error, self.config.memory_bytes, true);
        let statement = admit(&request.sql)?;
        let (held_bytes, limit_bytes) = (snapshot.held_by_earlier(), self.config.memory_bytes);
        if held_bytes > limit_bytes {
            return Err(QueryError::MemoryHeld { held_bytes, limit_bytes });
        }
        let projects = self.metadata.projects().await?;
        if let Some(name) = &request.project
            && !projects.iter().any(|project| project.name == *name)
        {
            return Err(unknown_project(name, projects.iter().map(|project| project.name.as_str())));
        }
        let names: Vec<String> = projects.iter().map(|project| project.name.clone()).collect();
        let state = self.session(snapshot, reader, projects, request.project.as_deref()).map_err(planning)?;
        check_tables(&state, &statement, &names, request.project.as_deref())?;
        let plan = state.statement_to_plan(statement).await.map_err(planning)?;
        let plan = bind(plan, request.params)?;
        check_plan(&plan)?;
        let physical = state.create_physical_plan(&plan).await.map_err(planning)?;
        let physical = yielding(physical, ended).map_err(planning)?;
        let stream = execute_stream(physical.clone(), state.task_ctx()).map_err(planning)?;
        Ok((physical, stream))
    }

    async fn pump(
        &self,
        mut stream: SendableRecordBatchStream,
        out: mpsc::Sender<Result<RecordBatch, QueryError>>,
    ) -> Outcome {
        while let Some(batch) = stream.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let error = QueryError::from_datafusion(error, self.config.memory_bytes, false);
                    let failed = Outcome::of(&error, false);
                    return if out.send(Err(error)).await.is_err() { Outcome::Cancelled } else { failed };
                }
            };
            for piece in pieces(batch) {
                if out.send(Ok(piece)).await.is_err() {
                    return Outcome::Cancelled;
                }
            }
        }
        Outcome::Done
    }

    fn session(
        &self,
        snapshot: Snapshot,
        reader: &Arc<Reader>,
        projects: Vec<stepwell_metadata::Project>,
        project: Option<&str>,
    ) -> datafusion::error::Result<SessionState> {
        let param_types = Arc::new(Mutex::default());
        let project_id = projects.iter().find(|known| Some(&*known.name) == project).map(|known| &*known.project_id);
        let series_functions = project_id.map(|project_id| series_functions::all(&snapshot, reader, project_id));
        let context = QueryContext {
            snapshot,
            reader: reader.clone(),
            metadata: self.metadata.clone(),
            cache: self.cache.clone(),
            projects,
            param_types: Arc::clone(&param_types),
        };
        let mut config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, project.unwrap_or("information_schema"))
            .with_information_schema(true)
            .with_target_partitions(self.config.threads.max(1));
        let options = config.options_mut();
        options.execution.enable_recursive_ctes = false;
        // Its filter is of the aggregates that have a value so far, and of those over a column: what others need would not be read.
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        options.optimizer.hash_join_inlist_pushdown_max_size = JOIN_KEYS_BYTES_MAX;
        options.optimizer.hash_join_inlist_pushdown_max_distinct_values = JOIN_KEYS_MAX;
        let mut physical_rules = planner_rules();
        physical_rules.push(Arc::new(AggregateRuns));
        let mut builder = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.runtime_env()?)
            .with_default_features()
            .with_catalog_list(Arc::new(Catalog(Arc::new(context))))
            .with_type_planner(Arc::new(NoSizedArrays))
            .with_physical_optimizer_rules(physical_rules);
        let planner = Arc::new(FieldAccessPlanner { types: param_types });
        builder.expr_planners().get_or_insert_default().insert(0, planner);
        if let Some(functions) = builder.scalar_functions() {
            functions.retain(|function| !REFUSED_FUNCTIONS.contains(&function.name()));
            functions.iter_mut().for_each(|function| *function = bounded(function.clone(), self.config.memory_bytes));
        }
        let aggregates = functions::aggregates().into_iter().chain(functions::in_place_of_the_planners());
        builder.aggregate_functions().get_or_insert_default().extend(aggregates);
        builder.window_functions().get_or_insert_default().extend(functions::windows());
        let of_series = series_functions.into_iter().flatten();
        *builder.table_functions() = Some(of_series.map(|function| (function.name().to_owned(), function)).collect());
        builder.table_factories().take();
        builder.file_formats().take();
        let mut state = builder.build();
        // What `now()` is in all of the query.
        state.mark_start_execution();
        Ok(state)
    }

    fn runtime_env(&self) -> datafusion::error::Result<Arc<RuntimeEnv>> {
        let spilling = DiskManagerMode::Directories(vec![self.config.spill_dir.clone()]);
        let runtime = self.runtime_with(spilling).or_else(|error| {
            // A disk without room for the directory. Most queries have no need of it; one that has is refused for its memory.
            tracing::debug!(%error, "a query runs without a place to spill to");
            self.runtime_with(DiskManagerMode::Disabled)
        })?;
        // It comes with the machine's files registered.
        runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
        Ok(runtime)
    }

    fn runtime_with(&self, spilling: DiskManagerMode) -> datafusion::error::Result<Arc<RuntimeEnv>> {
        let disk =
            DiskManagerBuilder::default().with_mode(spilling).with_max_temp_directory_size(self.config.spill_bytes);
        RuntimeEnvBuilder::new()
            .with_memory_pool(QueryPool::for_one_more(&self.memory))
            .with_disk_manager_builder(disk)
            .build_arc()
    }
}

fn unknown_project<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> QueryError {
    QueryError::UnknownProject { name: name.to_owned(), nearest: nearest(name, known) }
}

/// Every table named must be one of ours; said here, with the nearest names, before the planner says it without.
fn check_tables(
    state: &SessionState,
    statement: &Statement,
    projects: &[String],
    project: Option<&str>,
) -> Result<(), QueryError> {
    let references =
        state.resolve_table_references(statement).map_err(|error| QueryError::from_datafusion(error, 0, true))?;
    for reference in references {
        let schema = match &reference {
            TableReference::Bare { .. } => project,
            TableReference::Partial { schema, .. } | TableReference::Full { schema, .. } => Some(schema.as_ref()),
        };
        let Some(schema) = schema else {
            let name = reference.table();
            let message =
                format!("table {name:?} needs a project: name one in the request, or write \"project\".{name}");
            return Err(QueryError::Plan { message });
        };
        let is_function = matches!(reference, TableReference::Bare { .. });
        if schema == "information_schema" || (is_function && series_functions::NAMES.contains(&reference.table())) {
            continue;
        }
        if !projects.iter().any(|project| project == schema) {
            return Err(unknown_project(schema, projects.iter().map(String::as_str)));
        }
        if !TABLES.contains(&reference.table()) {
            let name = reference.table().to_owned();
            return Err(QueryError::UnknownTable { nearest: nearest(&name, TABLES), name });
        }
    }
    Ok(())
}

fn bind(plan: LogicalPlan, params: Vec<serde_json::Value>) -> Result<LogicalPlan, QueryError> {
    use serde_json::Value;
    if params.is_empty() {
        return Ok(plan);
    }
    let scalar = |(i, value): (usize, Value)| {
        Ok(match value {
            Value::Null => ScalarValue::Null,
            Value::Bool(value) => ScalarValue::Boolean(Some(value)),
            Value::Number(number) => match number.as_i64() {
                Some(value) => ScalarValue::Int64(Some(value)),
                None => ScalarValue::Float64(number.as_f64()),
            },
            Value::String(text) => ScalarValue::Utf8(Some(text)),
            Value::Array(_) | Value::Object(_) => {
                let message = "it must be null, a boolean, a number or a string".to_owned();
                return Err(QueryError::Params { name: format!("${}", i + 1), message });
            }
        })
    };
    let values = params.into_iter().enumerate().map(scalar).collect::<Result<Vec<ScalarValue>, QueryError>>()?;
    plan.with_param_values(ParamValues::from(values))
        .map_err(|error| QueryError::Params { name: "params".to_owned(), message: error.strip_backtrace() })
}
