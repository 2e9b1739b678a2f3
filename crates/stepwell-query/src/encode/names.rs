//! Names of columns, each once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::datatypes::{Field, Schema, SchemaRef};

/// `schema`, in which columns that repeat a name have a `:1`, `:2`, … behind it.
pub(super) fn told_apart(schema: SchemaRef) -> SchemaRef {
    let mut taken: HashSet<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    if taken.len() == schema.fields().len() {
        return schema;
    }
    let mut repeats: HashMap<&str, usize> = HashMap::new();
    let mut fields: Vec<Arc<Field>> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Some(repeats) = repeats.get_mut(field.name().as_str()) else {
            repeats.insert(field.name(), 0);
            fields.push(field.clone());
            continue;
        };
        let name = loop {
            *repeats += 1;
            let name = format!("{}:{repeats}", field.name());
            if taken.insert(name.clone()) {
                break name;
            }
        };
        fields.push(Arc::new(Field::clone(field).with_name(name)));
    }
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
