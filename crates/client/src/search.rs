//! Search.

use pando_model::{
    CollectionName, Consistency, Explained, FusedExplained, GroupQuery, GroupedExplained, Hit,
    HybridQuery, SearchQuery,
};
use pando_proto::v1::{self, search_client::SearchClient};
use pando_proto::{DecodeError, GRPC_MESSAGE_BYTES_MAX, encode_groups};
use tonic::transport::Channel;

use crate::builder::Pando;
use crate::call::Safety;
use crate::error::{ClientError, ErrorKind};

fn client(channel: Channel) -> SearchClient<Channel> {
    SearchClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}

impl Pando {
    /// The nearest points to one vector, or to what examples make, nearest first.
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, Examples, SearchQuery};
    /// # use pando_client::{Consistency, Pando};
    /// # async fn example(pando: Pando, words: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// // Near a vector.
    /// let query = SearchQuery::new(vec![0.9, 0.1, 0.1], 10);
    /// let near = pando.search(&words, query, Consistency::Local).await?;
    ///
    /// // Near point 7, which is itself left out.
    /// let query = SearchQuery::by_id(7, 10);
    /// let alike = pando.search(&words, query, Consistency::Local).await?;
    ///
    /// // Like points 7 and 8, and away from a vector.
    /// let examples = Examples::default().like([7, 8]).unlike([vec![0.0, 0.0, 1.0]]);
    /// let query = SearchQuery::by_examples(examples, 10);
    /// let recommended = pando.search(&words, query, Consistency::Local).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// By a sparse vector, hits are the points that share an index with it, those with the highest dot product first:
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, SearchQuery, SparseVector, VectorName};
    /// # use pando_client::{Consistency, Pando};
    /// # async fn example(pando: Pando, words: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// let terms = VectorName::parse("terms")?;
    /// let vector = SparseVector::from_pairs([(17, 1.5), (4_711, 0.5)])?;
    /// let query = SearchQuery::by_sparse(terms, vector, 10);
    /// let hits = pando.search(&words, query, Consistency::Local).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `CollectionNotFound`, `PointNotFound` for an example that is not there, `InvalidInput`, `Overloaded`, `Timeout`,
    /// `ResponseTooLarge`; see [`ClientError::kind`].
    pub async fn search(
        &self,
        collection: &CollectionName,
        query: SearchQuery,
        consistency: Consistency,
    ) -> Result<Vec<Hit>, ClientError> {
        let reply = self.search_once(collection, query, consistency).await?;
        Ok(reply.try_into()?)
    }

    /// The same, and how it was answered.
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, SearchQuery};
    /// # use pando_client::{Consistency, Pando};
    /// # async fn example(pando: Pando, words: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// let query = SearchQuery::new(vec![0.9, 0.1, 0.1], 10);
    /// let answer = pando.search_explained(&words, query, Consistency::Local).await?;
    /// let how = answer.explanation;
    /// println!("{} in {:?} by node {}", how.plan.text, how.elapsed, how.node);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Pando::search`].
    pub async fn search_explained(
        &self,
        collection: &CollectionName,
        query: SearchQuery,
        consistency: Consistency,
    ) -> Result<Explained, ClientError> {
        let query = SearchQuery {
            explain: true,
            ..query
        };
        let reply = self.search_once(collection, query, consistency).await?;
        Ok(reply.try_into()?)
    }

    async fn search_once(
        &self,
        collection: &CollectionName,
        query: SearchQuery,
        consistency: Consistency,
    ) -> Result<v1::Hits, ClientError> {
        let request = v1::SearchRequest {
            collection: collection.as_str().to_owned(),
            query: Some(query.into()),
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).search(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(v1::Hits {
            hits: reply.hits,
            explanation: reply.explanation,
        })
    }

    /// Several searches over one state of the collection; results in the order of the queries.
    ///
    /// # Errors
    /// As [`Pando::search`].
    pub async fn search_batch(
        &self,
        collection: &CollectionName,
        queries: Vec<SearchQuery>,
        consistency: Consistency,
    ) -> Result<Vec<Vec<Hit>>, ClientError> {
        let expected = queries.len();
        let request = v1::SearchBatchRequest {
            collection: collection.as_str().to_owned(),
            queries: queries.into_iter().map(Into::into).collect(),
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).search_batch(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        if reply.results.len() != expected {
            let message = format!("{} results to {expected} queries", reply.results.len());
            return Err(ClientError::new(ErrorKind::BadReply, message));
        }
        let results = reply.results.into_iter().map(Vec::<Hit>::try_from);
        Ok(results.collect::<Result<_, DecodeError>>()?)
    }

    /// The best points by several searches together, fused by reciprocal rank. All searches see one state.
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, HybridQuery, SearchQuery, VectorName};
    /// # use pando_client::{Consistency, Pando};
    /// # async fn example(pando: Pando, papers: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// let by_title = SearchQuery {
    ///     vector_name: VectorName::parse("title")?,
    ///     ..SearchQuery::new(vec![0.9, 0.1], 50)
    /// };
    /// let by_text = SearchQuery {
    ///     vector_name: VectorName::parse("text")?,
    ///     ..SearchQuery::new(vec![0.2, 0.3, 0.5], 50)
    /// };
    /// let query = HybridQuery::new([by_title, by_text], 10);
    /// let found = pando.search_hybrid(&papers, query, Consistency::Local).await?;
    /// println!("best: {} ({})", found.hits[0].point.id, found.hits[0].score);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Pando::search`].
    pub async fn search_hybrid(
        &self,
        collection: &CollectionName,
        query: HybridQuery,
        consistency: Consistency,
    ) -> Result<FusedExplained, ClientError> {
        let request = v1::SearchHybridRequest {
            collection: collection.as_str().to_owned(),
            query: Some(query.into()),
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).search_hybrid(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(reply.try_into()?)
    }

    /// The nearest points, so many of each group of a payload field.
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, GroupQuery, SearchQuery};
    /// # use pando_client::{Consistency, Pando};
    /// # async fn example(pando: Pando, chunks: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// // Five documents, of each the three chunks nearest to the vector.
    /// let query = GroupQuery {
    ///     query: SearchQuery::new(vec![0.9, 0.1, 0.1], 5),
    ///     group_by: "document".to_owned(),
    ///     group_size: 3,
    /// };
    /// for group in pando.search_groups(&chunks, query, Consistency::Local).await?.groups {
    ///     println!("{:?}: {} hits", group.value, group.hits.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Pando::search`].
    pub async fn search_groups(
        &self,
        collection: &CollectionName,
        query: GroupQuery,
        consistency: Consistency,
    ) -> Result<GroupedExplained, ClientError> {
        let request = encode_groups(collection, query, consistency);
        let send = |channel, request| async move { client(channel).search_groups(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(reply.try_into()?)
    }
}
