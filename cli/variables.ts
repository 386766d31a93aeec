/** Variables of ours that are no settings of the process that finds them. */
export const OUR_VARIABLES: readonly string[] = ["SHIMMY_DEBUG", "SHIMMY_RUN_ID"];
