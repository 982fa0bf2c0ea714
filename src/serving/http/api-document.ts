/**
 * What the API is, for programs (/openapi.json) and people (/docs). Bodies are described by the schemas that check them, so
 * that there is nothing else to keep true. The page holds no script and fetches nothing.
 */
import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';
import { renderReport, type Section } from '../../report/html.ts';
import { makeTable } from '../../report/table.ts';
import type { JsonEndpoint } from './json-endpoint.ts';
import type { ServerLimits } from './limits.ts';

/** What an endpoint is for and takes. */
export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'delete';
  readonly path: string;
  readonly summary: string;
  /** Schema of a JSON body. */
  readonly body?: JsonObject;
  /** Content type of a body, or an answer, that is not JSON. */
  readonly takes?: string;
  readonly gives?: string;
}

/** What an API is: what its pages say of it. */
export interface DocumentedApi {
  readonly summary: string;
  readonly endpoints: Readonly<Record<string, Pick<JsonEndpoint<never>, 'summary' | 'body'>>>;
  /** Endpoints that take no JSON, besides those of every server, and some that do, below a path. */
  readonly others: readonly Operation[];
  /** Endpoints of other servers that it does not have. */
  readonly absent: readonly string[];
}

/** Those of every server that take nothing. */
const commonOperations: readonly Operation[] = [
  { method: 'get', path: '/health', summary: 'Whether the server lives' },
  { method: 'get', path: '/v1/models', summary: 'The model' },
  { method: 'get', path: '/v1/models/{id}', summary: 'The model, by its name' },
  { method: 'get', path: '/props', summary: 'Settings, limits, chat template' },
  { method: 'get', path: '/tokenizer_info', summary: 'What a client needs that tokenizes by itself' },
  { method: 'get', path: '/metrics', summary: 'Measurements for Prometheus', gives: 'text/plain' },
];

/** The schema of what is sent, as JSON Schema. */
export function describedBody(schema: z.ZodType): JsonObject {
  const made: unknown = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  if (!isJsonObject(made)) return {};
  const { $schema: _, ...own } = made;
  return own;
}

function operations(limits: ServerLimits, { endpoints, others }: DocumentedApi): Operation[] {
  const posts = Object.entries(endpoints).map(
    ([path, { summary, body }]): Operation => ({ method: 'post', path, summary, body: describedBody(body(limits)) }),
  );
  return [...posts, ...others, ...commonOperations];
}

const errorSchema = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['message', 'type', 'code', 'param'],
      properties: {
        message: { type: 'string' },
        type: { type: 'string' },
        code: { type: 'integer', description: 'The status' },
        param: { type: ['string', 'null'], description: 'The field of the request that is wrong' },
      },
    },
  },
};

/** The OpenAPI document, version 3.1. */
export function apiDocument(limits: ServerLimits, api: DocumentedApi) {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of operations(limits, api)) {
    const { method, path, summary, body, takes, gives = 'application/json' } = operation;
    const content = takes === undefined ? body && { 'application/json': { schema: body } } : { [takes]: {} };
    paths[path] = {
      ...paths[path],
      [method]: {
        summary,
        operationId: `${method}${path.replace(/\W+/g, '_')}`,
        parameters: [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
          name,
          in: 'path',
          required: true,
          schema: { type: 'string' },
        })),
        ...(content !== undefined && { requestBody: { required: true, content } }),
        responses: {
          200: { description: 'The answer; with "stream": true server-sent events', content: { [gives]: {} } },
          default: {
            description: 'What is wrong',
            content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
          },
        },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'linnet serve',
      version: '1',
      description: `${api.summary} Not here: ${api.absent.join(', ')}.`,
    },
    security: [{}, { bearer: [] }],
    paths,
    components: {
      schemas: { Error: errorSchema },
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    },
  };
}

/** The same for people: one page without scripts. */
export function documentPage(limits: ServerLimits, api: DocumentedApi): Response {
  const all = operations(limits, api);
  const sections: Section[] = all.map(({ method, path, summary, body, takes, gives }) => {
    const fields = fieldsOf(body);
    return {
      title: `${method.toUpperCase()} ${path}`,
      blocks: [
        { kind: 'text', text: summary },
        ...(fields.length === 0 ? [] : [{ kind: 'table' as const, table: fieldTable(fields) }]),
        ...(takes === undefined ? [] : [{ kind: 'text' as const, text: `Takes ${takes}.` }]),
        ...(gives === undefined ? [] : [{ kind: 'text' as const, text: `Gives ${gives}.` }]),
      ],
    };
  });
  const html = renderReport({
    title: 'linnet serve',
    subtitle: 'Endpoints and the fields that they take; /openapi.json says the same to programs',
    sections,
    sortable: false,
  });
  return new Response(html, {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
  });
}

interface Field {
  readonly name: string;
  readonly required: boolean;
  readonly schema: JsonObject;
}

function fieldsOf(body: JsonObject | undefined): Field[] {
  const properties = isJsonObject(body?.properties) ? body.properties : {};
  const required: readonly unknown[] = Array.isArray(body?.required) ? body.required : [];
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    required: required.includes(name),
    schema: isJsonObject(schema) ? schema : {},
  }));
}

function fieldTable(fields: readonly Field[]) {
  return makeTable<Field>(
    [
      { header: 'field', value: ({ name }) => name },
      {
        header: 'what it is',
        value: ({ schema, required }) => (required ? `${spoken(schema)}, required` : spoken(schema)),
      },
    ],
    fields,
  );
}

/** A schema in a few words. */
function spoken(schema: JsonObject): string {
  const options = [schema.anyOf, schema.oneOf].find(Array.isArray);
  if (options !== undefined) {
    const words = options.filter(isJsonObject).map(spoken);
    return [...new Set(words.filter((word) => word !== 'null'))].join(' or ');
  }
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(' or ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === 'array') {
    const items = isJsonObject(schema.items) ? spoken(schema.items) : 'anything';
    return `list of ${items}${bounds(schema.minItems, schema.maxItems)}`;
  }
  if (schema.type === 'string') return `text${bounds(schema.minLength, schema.maxLength)}`;
  if (schema.type === 'integer' || schema.type === 'number') {
    return (schema.type === 'integer' ? 'whole number' : 'number') + bounds(schema.minimum, schema.maximum);
  }
  return typeof schema.type === 'string' ? schema.type : 'anything';
}

function bounds(least: unknown, most: unknown): string {
  const shown = (value: unknown): value is number =>
    typeof value === 'number' && Math.abs(value) < Number.MAX_SAFE_INTEGER;
  if (shown(least) && shown(most)) return `, ${least} to ${most}`;
  if (shown(most)) return `, up to ${most}`;
  return shown(least) ? `, from ${least}` : '';
}
