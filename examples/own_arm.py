"""An arm of your own, beside the control that differs from it by one thing. Half a minute on two cores."""

from hf_bertx import ARMS, Arm, RunSpec, train

ARMS["re_emb_lora"] = Arm("re_emb_lora", start="re_emb", tuning="lora", about="New embeddings, adapters on the rest.")

# a few steps, to see that it works: leave these two out for a whole run
few = {"max_steps": 20, "eval_steps": 20}
for arm in ("re_emb_lora", "lora_rand"):
    run = train(RunSpec(task="dna-splice", arm=arm, seed=0, overrides={"learning_rate": 3e-3, **few}), "runs")
    print(arm, round(run.scores["test"]["accuracy"], 3))

# Prints:
# re_emb_lora 0.531
# lora_rand 0.544
