// What Grafana's own schema says of a dashboard like ours. `run` puts the dashboard itself below this and has the TypeScript
// compiler check it: a key that Grafana does not know, a value that it does not take, or one that is missing is an error.
import type { AnnotationQuery, Dashboard, Panel, RowPanel } from "@grafana/schema";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// In JSON an enumeration is the text or number of its value.
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

// The query editor of Prometheus is no part of the schema.
type Target = {
  datasource: { type: "prometheus"; uid: "${datasource}" };
  expr: string;
  legendFormat: string;
  refId: string;
  instant?: boolean;
  format?: "heatmap" | "table";
};

type OfType<Type extends string, Options, Custom> = Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> & {
  type: Type;
  title: string;
  description: string;
  gridPos: NonNullable<Panel["gridPos"]>;
  options: Options;
  fieldConfig: Omit<NonNullable<Panel["fieldConfig"]>, "defaults"> & {
    defaults: Omit<NonNullable<Panel["fieldConfig"]>["defaults"], "custom"> & { custom?: Custom };
  };
  targets: Target[];
};

type Annotations = AnnotationQuery & { expr?: string; step?: string; titleFormat?: string };

type Variable = NonNullable<NonNullable<Dashboard["templating"]>["list"]>[number] & { definition?: string };

export type Sidebearer = Json<
  Omit<Dashboard, "annotations" | "panels" | "templating"> & {
    annotations: { list: Annotations[] };
    templating: { list: Variable[] };
    panels: (
      | RowPanel
      | OfType<"heatmap", heatmap.Options, heatmap.FieldConfig>
      | OfType<"stat", stat.Options, never>
      | OfType<"table", table.Options, table.FieldConfig>
      | OfType<"timeseries", timeseries.Options, timeseries.FieldConfig>
    )[];
  }
>;
