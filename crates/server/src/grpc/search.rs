//! The Search service.

use std::time::Instant;

use pando_model::limits::QUERIES_PER_BATCH_MAX;
use pando_model::{
    CollectionName, Consistency, Explained, Explanation, Found, HybridQuery, SearchPlan,
    SearchQuery,
};
use pando_proto::v1::{self, search_server::Search};
use pando_proto::{
    DecodeError, decode_collection, decode_consistency, decode_groups, decode_queries,
};
use tonic::{Request, Response, Status};

use super::api::{check_count, decode, reply};
use super::{Api, Deadline};
use crate::error::ServiceError;

pub(crate) struct SearchService(pub(crate) Api);

impl SearchService {
    async fn run(
        &self,
        collection: CollectionName,
        queries: Vec<SearchQuery>,
        consistency: Consistency,
        deadline: Deadline,
    ) -> Result<(Vec<v1::Hits>, u64), ServiceError> {
        let begun = Instant::now();
        check_count("queries", queries.len(), QUERIES_PER_BATCH_MAX)?;
        let explain: Vec<bool> = queries.iter().map(|query| query.explain).collect();
        let quick = self.0.node.replica().is_quick(&collection, &queries);
        let search = (self.0).search_by(consistency, deadline, quick, move |r, patience| {
            r.search_planned(&collection, &queries, patience)
        });
        let (found, log_index) = search.await?;
        let explained = self.explained(begun);
        let answer = |(Found { hits, plan }, explain): (Found, bool)| -> v1::Hits {
            if !explain {
                return hits.into();
            }
            let explanation = explained(plan);
            Explained { hits, explanation }.into()
        };
        Ok((
            found.into_iter().zip(explain).map(answer).collect(),
            log_index,
        ))
    }

    /// What this node says about plans of a request that came in at `begun`.
    fn explained(&self, begun: Instant) -> impl Fn(SearchPlan) -> Explanation {
        let (elapsed, node) = (begun.elapsed(), self.0.identity.node_id());
        move |plan| Explanation {
            plan,
            elapsed,
            node,
        }
    }
}

#[tonic::async_trait]
impl Search for SearchService {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, queries) = decode(|| {
            let query = request.query.ok_or_else(|| DecodeError::missing("query"))?;
            let collection = decode_collection("collection", &request.collection)?;
            Ok((collection, decode_queries(vec![query])?))
        })?;
        let consistency = decode_consistency(request.consistency);
        let (results, log_index) = self.run(collection, queries, consistency, deadline).await?;
        let found = results.into_iter().next().unwrap_or_default();
        reply(v1::SearchResponse {
            hits: found.hits,
            log_index,
            explanation: found.explanation,
        })
    }

    async fn search_batch(
        &self,
        request: Request<v1::SearchBatchRequest>,
    ) -> Result<Response<v1::SearchBatchResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, queries) = decode(|| {
            let collection = decode_collection("collection", &request.collection)?;
            Ok((collection, decode_queries(request.queries)?))
        })?;
        let consistency = decode_consistency(request.consistency);
        let (results, log_index) = self.run(collection, queries, consistency, deadline).await?;
        reply(v1::SearchBatchResponse { results, log_index })
    }

    async fn search_hybrid(
        &self,
        request: Request<v1::SearchHybridRequest>,
    ) -> Result<Response<v1::SearchHybridResponse>, Status> {
        let begun = Instant::now();
        let (request, deadline) = self.0.begin(request)?;
        let (collection, query) = decode(|| {
            let query = request.query.ok_or_else(|| DecodeError::missing("query"))?;
            let query = HybridQuery::try_from(query).map_err(DecodeError::within("query"))?;
            Ok((decode_collection("collection", &request.collection)?, query))
        })?;
        let consistency = decode_consistency(request.consistency);
        let explain = query.explain;
        let search = self.0.search(consistency, deadline, move |r, patience| {
            r.search_hybrid(&collection, &query, patience)
        });
        let (fused, log_index) = search.await?;
        let plans = fused.plans.into_iter().filter(|_| explain);
        let explained = self.explained(begun);
        reply(v1::SearchHybridResponse {
            hits: fused.hits.into_iter().map(Into::into).collect(),
            log_index,
            explanations: plans.map(|plan| explained(plan).into()).collect(),
        })
    }

    async fn search_groups(
        &self,
        request: Request<v1::SearchGroupsRequest>,
    ) -> Result<Response<v1::SearchGroupsResponse>, Status> {
        let begun = Instant::now();
        let (request, deadline) = self.0.begin(request)?;
        let (collection, query, consistency) = decode(|| decode_groups(request))?;
        let explain = query.query.explain;
        let search = self.0.search(consistency, deadline, move |r, patience| {
            r.search_groups(&collection, &query, patience)
        });
        let (found, log_index) = search.await?;
        let plan = Some(found.plan).filter(|_| explain);
        reply(v1::SearchGroupsResponse {
            groups: found.groups.into_iter().map(Into::into).collect(),
            log_index,
            explanation: plan.map(self.explained(begun)).map(Into::into),
        })
    }
}
