//! `GET /runs`: one expression, and no more.

use super::Fixture;
use crate::QueryError;

async fn ids(fixture: &Fixture, filter: Option<&str>, order: Option<&str>) -> Result<Vec<String>, QueryError> {
    let engine = fixture.engine.clone();
    fixture.query.run_ids(move || engine.snapshot(), "demo", filter, order, 10, 0).await
}

#[tokio::test]
async fn runs_are_filtered_and_ordered_with_ties_by_id() {
    let fixture = Fixture::new(|_| {}).await;
    let all = |filter, order| ids(&fixture, filter, order);
    assert_eq!(all(None, None).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(all(None, Some("status DESC")).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(all(None, Some("params['layers'] DESC")).await.unwrap(), ["c", "b", "a"]);
    assert_eq!(all(Some("params['lr'] > 0.05 AND tags['team'] IS NULL"), None).await.unwrap(), ["b"]);
    let engine = fixture.engine.clone();
    let page = fixture.query.run_ids(move || engine.snapshot(), "demo", None, None, 1, 1).await.unwrap();
    assert_eq!(page, ["b"]);
}

#[tokio::test]
async fn nothing_but_one_expression_is_taken() {
    let fixture = Fixture::new(|_| {}).await;
    for filter in ["true; SELECT 1", "true) OR (true", "true UNION SELECT run_id FROM runs", "", "true LIMIT 1", "a b"]
    {
        let answer = ids(&fixture, Some(filter), None).await;
        assert!(matches!(answer, Err(QueryError::Syntax { .. })), "{filter}: {answer:?}");
    }
    for filter in ["run_id IN (SELECT run_id FROM tags)", "EXISTS (SELECT 1)", "(SELECT true)"] {
        let answer = ids(&fixture, Some(filter), None).await;
        assert!(matches!(answer, Err(QueryError::NotAQuery { .. })), "{filter}: {answer:?}");
    }
    assert!(matches!(ids(&fixture, None, Some("name; DROP TABLE runs")).await, Err(QueryError::Syntax { .. })));
    // A comment ends with the text it is in: what follows the filter in the query is still there.
    assert_eq!(ids(&fixture, Some("run_id = 'a' --"), None).await.unwrap(), ["a"]);
    let unknown = ids(&fixture, Some("statu = 'running'"), None).await;
    assert!(
        matches!(&unknown, Err(QueryError::UnknownColumn { nearest, .. }) if nearest[0] == "status"),
        "{unknown:?}"
    );
}
