#include "orderctl/schema_target.h"

#include "adapter/kafka/kafka_schema.h"

static bool apply(const struct session *session, const void *values, struct log *log,
                  struct fault *fault) {
    const struct kafka_options *options = values;
    size_t made = 0;
    char text[80];
    if (!kafka_schema_apply(options, log, &made, fault)) {
        return false;
    }
    if (made > 0) {
        (void)snprintf(text, sizeof(text), "%zu of %d topics made", made, KAFKA_TOPIC_COUNT);
    } else {
        (void)snprintf(text, sizeof(text), "all %d topics are there", KAFKA_TOPIC_COUNT);
    }
    schema_report(session, "kafka", text);
    return true;
}

const struct schema_target schema_kafka = {
    .name = "kafka",
    .options = kafka_option_table,
    .option_count = &kafka_option_count,
    .values_size = sizeof(struct kafka_options),
    .apply = apply,
};
