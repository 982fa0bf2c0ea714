/** What an answer is to be: text, or JSON of a schema. */
import { z } from 'zod';
import type { JsonConstraint } from '../../decoding/constraints/json-constraint.ts';
import { LinnetError } from '../../errors.ts';
import { ApiError } from './api-error.ts';
import type { Serving } from './request-context.ts';
import { maybe } from './request-fields.ts';

/** A schema as it is sent. What it means is checked when it is made ready. */
export const jsonSchemaField = z.union([z.record(z.string(), z.unknown()), z.literal(true)], {
  error: 'expected a JSON schema, which is an object',
});

/** `response_format`, in the shapes of OpenAI and llama.cpp. */
const responseFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object'), schema: maybe(jsonSchemaField) }),
  z.object({
    type: z.literal('json_schema'),
    json_schema: z.object({ schema: jsonSchemaField }),
  }),
]);

/** The fields by which endpoints take schemas. */
export const formatFields = { response_format: maybe(responseFormat), json_schema: maybe(jsonSchemaField) };

export type FormatFields = z.output<z.ZodObject<typeof formatFields>> & { readonly ignore_eos?: boolean | undefined };

/**
 * What the text is held to; undefined for any text.
 * @throws ApiError for a schema that cannot be used, naming the field
 */
export function jsonOf(serving: Serving, fields: FormatFields): JsonConstraint | undefined {
  const { response_format: format, json_schema: plain } = fields;
  if (format !== undefined && format.type !== 'text' && plain !== undefined) {
    throw new ApiError('invalid_request_error', 'give one of "response_format" and "json_schema"', {
      param: 'json_schema',
    });
  }
  if (format?.type === 'json_schema') return ready(serving, fields, format.json_schema.schema, 'response_format');
  if (format?.type === 'json_object') {
    return ready(serving, fields, format.schema ?? { type: 'object' }, 'response_format');
  }
  return plain === undefined ? undefined : ready(serving, fields, plain, 'json_schema');
}

function ready({ texts, model }: Serving, fields: FormatFields, schema: unknown, param: string): JsonConstraint {
  if (fields.ignore_eos === true) {
    throw new ApiError('invalid_request_error', 'JSON ends with EOS; leave out "ignore_eos"', { param: 'ignore_eos' });
  }
  try {
    return texts.schemas.constraint(schema, model.engine.model.eosIds);
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code === 'INTERNAL') throw error;
    throw new ApiError('invalid_request_error', error.message, { param });
  }
}
