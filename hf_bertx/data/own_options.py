"""The options that describe a user's own data, the same for every command. Imports nothing, so that help is fast."""

# The name of each option, and what `--help` says of it; argparse prints %% as %.
USER_DATA_OPTIONS: dict[str, str] = {
    "train_file": "A .fasta, .csv, .tsv, .jsonl or .parquet file, or a folder of MIDI files.",
    "validation_file": "Choose the best weights on this file. By default on items of the training file: 200 of them "
    "or 5%%, whichever is more; 15%% of a small file.",
    "test_file": "Test on this file. By default on items of the training file, as many.",
    "discipline": "What the file holds: dna, protein, music or text.",
    "problem": "classification, regression, or multi_label: several labels an item, divided by `;`. By default labels "
    "with a decimal point make a regression.",
    "sequence_column": "(default: sequence)",
    "second_sequence_column": "The second sequence of pairs.",
    "label_column": "(default: label)",
    "id_column": "(default: id, if there is one)",
    "group_column": "Items of one group stay on one side of a split. (default: group, if there is one)",
    "label_pattern": "Regular expression for FASTA headers; its ( ) encloses the label.",
    "labels_file": "Table with the label of each MIDI file (columns file and label) or FASTA record (id and label).",
    "skip_unreadable": "Leave out MIDI files that cannot be read.",
    "metric": "Metric that the best weights are chosen by: accuracy (default), balanced_accuracy, mcc or macro_f1; "
    "for numbers spearman (default) or pearson. All are reported.",
    "similarity_threshold": "Without a group column: items that share this fraction of their k-mers, or more, form a "
    "group and stay on one side of a split. 0.5 keeps near copies together.",
    "license": "Licence of the data, as the Hub writes it, e.g. cc-by-4.0; the card names it, and data without one is "
    "not published.",
}
