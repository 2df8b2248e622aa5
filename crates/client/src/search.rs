//! Search.

use pando_model::{CollectionName, Consistency, Hit, SearchQuery};
use pando_proto::v1::{self, search_client::SearchClient};
use pando_proto::{DecodeError, GRPC_MESSAGE_BYTES_MAX};
use tonic::transport::Channel;

use crate::builder::Pando;
use crate::call::Safety;
use crate::error::{ClientError, ErrorKind};

fn client(channel: Channel) -> SearchClient<Channel> {
    SearchClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}

impl Pando {
    /// The nearest points to one vector, nearest first.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`, `ResponseTooLarge`; see [`ClientError::kind`].
    pub async fn search(
        &self,
        collection: &CollectionName,
        query: SearchQuery,
        consistency: Consistency,
    ) -> Result<Vec<Hit>, ClientError> {
        let request = v1::SearchRequest {
            collection: collection.as_str().to_owned(),
            query: Some(query.into()),
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).search(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(v1::Hits { hits: reply.hits }.try_into()?)
    }

    /// Several searches over one state of the collection; results in the order of the queries.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`, `ResponseTooLarge`; see [`ClientError::kind`].
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
}
