#include <memory>
#include <utility>

#include "consumer.h"
#include "endpoint.h"
#include "producer.h"
#include "publisher.h"
#include "subscriber.h"

namespace shimmy::channel {

std::shared_ptr<Endpoint> MakeEndpoint(std::shared_ptr<Client> client, EndpointOptions options) {
  switch (options.role) {
    case SHIMMY_PRODUCER:
      return std::make_shared<ProducerEndpoint>(std::move(client), std::move(options));
    case SHIMMY_CONSUMER:
      return std::make_shared<ConsumerEndpoint>(std::move(client), std::move(options));
    case SHIMMY_PUBLISHER:
      return std::make_shared<PublisherEndpoint>(std::move(client), std::move(options));
    case SHIMMY_SUBSCRIBER:
      return std::make_shared<SubscriberEndpoint>(std::move(client), std::move(options));
    default: return nullptr;
  }
}

}  // namespace shimmy::channel
