//! `params['lr']` with the type that the param has.
//!
//! The map column holds text. When a query is planned, the kinds of the params in the projects it reads are known: a key whose
//! values are all bool, all int, or int and float gets that type, so that it compares and sorts as such; any other is text.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder},
        datatypes::DataType,
    },
    common::{DFSchema, ExprSchema, Result, exec_err},
    logical_expr::{
        ColumnarValue, Expr, GetFieldAccess, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr},
    },
};

/// Types of params by key, filled in as the tables of a query are resolved, which is before it is planned.
pub(crate) type ParamTypes = Arc<Mutex<HashMap<String, DataType>>>;

/// The type that holds values of both.
pub(crate) fn common_type(a: &DataType, b: &DataType) -> DataType {
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
        _ => DataType::Utf8,
    }
}

#[derive(Debug)]
pub(crate) struct FieldAccessPlanner {
    pub(crate) types: ParamTypes,
}

impl ExprPlanner for FieldAccessPlanner {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let GetFieldAccess::NamedStructField { name } = &access.field_access else {
            return Ok(PlannerResult::Original(access));
        };
        let (column, column_type) = match &access.expr {
            Expr::Column(column) => (column, schema.data_type(column).ok()),
            // Of the query that this one stands in.
            Expr::OuterReferenceColumn(field, column) => (column, Some(field.data_type())),
            _ => return Ok(PlannerResult::Original(access)),
        };
        if column_type.is_some_and(|column_type| !is_map_of_texts(column_type)) {
            return Ok(PlannerResult::Original(access));
        }
        let Some(Some(key)) = name.try_as_str().map(|key| key.map(str::to_owned)) else {
            return Ok(PlannerResult::Original(access));
        };
        let data_type = match column.name.as_str() {
            "params" => {
                let types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
                types.get(&key).cloned().unwrap_or(DataType::Utf8)
            }
            "tags" => DataType::Utf8,
            _ => return Ok(PlannerResult::Original(access)),
        };
        // Where several tables have params, the name says whose they are: names in a SELECT are to differ.
        let is_inner = matches!(access.expr, Expr::Column(_));
        let is_of_one = is_inner && schema.fields_with_unqualified_name(&column.name).len() == 1;
        let display = match &column.relation {
            Some(table) if !is_of_one => format!("{table}.{}[{key}]", column.name),
            _ => format!("{}[{key}]", column.name),
        };
        let function = ScalarUDF::from(FieldAccess::new(key, data_type));
        Ok(PlannerResult::Planned(function.call(vec![access.expr]).alias(display)))
    }
}

/// The type of `params` and `tags`. A query may make a column of such a name and another type.
fn is_map_of_texts(data_type: &DataType) -> bool {
    let DataType::Map(entries, _) = data_type else { return false };
    let DataType::Struct(fields) = entries.data_type() else { return false };
    fields.iter().all(|field| *field.data_type() == DataType::Utf8)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FieldAccess {
    key: String,
    data_type: DataType,
    signature: Signature,
}

impl FieldAccess {
    fn new(key: String, data_type: DataType) -> Self {
        Self { key, data_type, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for FieldAccess {
    fn name(&self) -> &str {
        "field_access"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(map) = arrays.first().and_then(|array| array.as_map_opt()) else {
            return exec_err!("params and tags are maps");
        };
        let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
        let offsets = map.offsets();
        let texts = (0..map.len()).map(|row| {
            let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
            entries.find(|&i| keys.value(i) == self.key).map(|i| values.value(i))
        });
        let array: ArrayRef = match &self.data_type {
            DataType::Boolean => {
                let mut builder = BooleanBuilder::new();
                texts.for_each(|text| builder.append_option(text.and_then(|text| text.parse().ok())));
                Arc::new(builder.finish())
            }
            DataType::Int64 => {
                let mut builder = Int64Builder::new();
                texts.for_each(|text| builder.append_option(text.and_then(|text| text.parse().ok())));
                Arc::new(builder.finish())
            }
            DataType::Float64 => {
                let mut builder = Float64Builder::new();
                texts.for_each(|text| builder.append_option(text.and_then(|text| text.parse().ok())));
                Arc::new(builder.finish())
            }
            _ => {
                let mut builder = StringBuilder::new();
                texts.for_each(|text| builder.append_option(text));
                Arc::new(builder.finish())
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}
