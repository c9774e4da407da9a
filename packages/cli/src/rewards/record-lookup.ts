/**
 * Records of a dataset by id. Only ids travel with samples: who computes rewards reads the file itself. Ids of the
 * form `#<index>` need no index; for others the file is read once, at the first question.
 */
import { DataError } from '@realhf/api';
import type { RewardBatch } from '@realhf/model';
import { z } from 'zod';

import { recordOfType } from '../data/dataset-types.js';
import type { FieldNames } from '../data/records/fields.js';
import { RecordFile } from '../data/records/record-file.js';

type Records = RewardBatch['records'];

/** The options of a dataset that say where its records are. */
export const datasetPlace = z.object({
  path: z.string(),
  fields: z.record(z.string(), z.string()),
  type: z.string().nullable().default(null),
  args: z.record(z.string(), z.unknown()).default({}),
});

/** Records of a file, or of a user's dataset type. The function throws DataError on an id that neither has. */
export function recordsOf(dataset: z.output<typeof datasetPlace>): ReturnType<typeof recordLookup> {
  const { path, fields, type, args } = dataset;
  if (type === null) return recordLookup(path, fields);
  return (ids) => Promise.resolve(ids.map((id) => recordOfType(type, id, { path, args })));
}

/** The function throws DataError on an id that the file does not have. */
export function recordLookup(
  path: string,
  fields: FieldNames,
): (ids: readonly string[]) => Promise<Records> {
  let opened: Promise<RecordFile> | undefined;
  let index: Map<string, number> | undefined;
  const indexOf = (file: RecordFile, id: string): number | undefined => {
    const given = /^#(\d+)$/.exec(id)?.[1];
    if (given !== undefined && Number(given) < file.size && file.get(Number(given)).id === id)
      return Number(given);
    index ??= indexed(file);
    return index.get(id);
  };
  return async (ids) => {
    opened ??= RecordFile.open(path, fields);
    const file = await opened;
    return ids.map((id) => {
      const at = indexOf(file, id);
      if (at === undefined)
        throw new DataError(`dataset '${path}' has no record '${id}'; has the file changed?`);
      return file.get(at).fields;
    });
  };
}

/** Bad records are left out: the dataset has told of them, or skips them. */
function indexed(file: RecordFile): Map<string, number> {
  const out = new Map<string, number>();
  for (let i = 0; i < file.size; i++) {
    try {
      out.set(file.get(i).id, i);
    } catch (e) {
      if (!(e instanceof DataError)) throw e;
    }
  }
  return out;
}
