-- A small campaign in a store of schema 0001, as `sqlite3 water.db .dump` writes it.
-- content digest 847025fb5b9a5f71b8d7f36cf5867b2a5554e513fe2b12729548bdbfa92a1cc8
PRAGMA page_size = 32768;
PRAGMA application_id = 1634494060;
BEGIN TRANSACTION;
CREATE TABLE alflow_schema (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alflow_schema_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alflow_schema" VALUES('0001');
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	no INTEGER NOT NULL, 
	token TEXT NOT NULL, 
	epoch INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	host TEXT, 
	env_id INTEGER, 
	backend_job_id TEXT, 
	state TEXT NOT NULL, 
	charged INTEGER NOT NULL, 
	started REAL NOT NULL, 
	ended REAL, 
	wall_s REAL, 
	exit_code INTEGER, 
	failure_class TEXT, 
	message TEXT, 
	details_json TEXT, 
	log_sha TEXT, 
	CONSTRAINT pk_attempt PRIMARY KEY (id), 
	CONSTRAINT ck_attempt_failure CHECK ((state = 'failed') = (failure_class IS NOT NULL)), 
	CONSTRAINT ck_attempt_failure_class CHECK (failure_class = 'invalid-input' OR failure_class = 'bad-geometry' OR failure_class = 'not-converged' OR failure_class = 'suspicious-label' OR failure_class = 'resource' OR failure_class = 'crash' OR failure_class = 'lost' OR failure_class = 'diverged' OR failure_class = 'bug'), 
	CONSTRAINT ck_attempt_state CHECK (state = 'open' OR state = 'done' OR state = 'failed'), 
	CONSTRAINT ck_attempt_charged CHECK (charged IN (0, 1)), 
	CONSTRAINT fk_attempt_env_id FOREIGN KEY(env_id) REFERENCES environment (id), 
	CONSTRAINT fk_attempt_task_id FOREIGN KEY(task_id) REFERENCES task (id), 
	CONSTRAINT uq_attempt_task_id_no UNIQUE (task_id, no), 
	CONSTRAINT uq_attempt_token UNIQUE (token)
)
 STRICT

;
INSERT INTO "attempt" VALUES(1,1,1,'4655d232665207da',1,1,NULL,NULL,NULL,'done',0,1.7952852033594744205e+09,1.79528520340967345236e+09,0.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(2,2,1,'d71770587dfb5c37',1,1,'n1',1,NULL,'done',0,1.79528520356798243517e+09,1.79528520364078640939e+09,1.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(3,3,1,'56cdbabe46866049',1,1,'n1',1,NULL,'done',0,1.79528520368465614319e+09,1.79528520371622943882e+09,1.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(4,4,1,'26f802e394151cb4',1,1,NULL,NULL,NULL,'done',0,1.79528520382235360144e+09,1.79528520384152936928e+09,0.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(5,5,1,'d03873460c1b291f',1,1,NULL,NULL,NULL,'done',0,1.79528520390387153621e+09,1.7952852039201378822e+09,0.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(6,6,1,'c0020bfd07e99f62',1,1,NULL,NULL,NULL,'done',0,1.79528520399200558661e+09,1.79528520400444793706e+09,0.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(7,7,1,'a9d1e6cd59431347',1,1,'n1',1,NULL,'done',0,1.79528520408105683324e+09,1.79528520411611700055e+09,1.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(8,8,1,'a43fb5eb3ec1b58b',1,1,NULL,NULL,NULL,'done',0,1.79528520420494437214e+09,1.79528520422050476071e+09,0.0,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE blob (
	sha256 TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	media_type TEXT NOT NULL, 
	storage TEXT NOT NULL, 
	data BLOB, 
	relpath TEXT, 
	CONSTRAINT pk_blob PRIMARY KEY (sha256), 
	CONSTRAINT ck_blob_file CHECK ((storage = 'file') = (relpath IS NOT NULL)), 
	CONSTRAINT ck_blob_inline CHECK ((storage = 'inline') = (data IS NOT NULL)), 
	CONSTRAINT ck_blob_storage CHECK (storage = 'inline' OR storage = 'file'), 
	CONSTRAINT ck_blob_size CHECK (data IS NULL OR length(data) = size)
)
 STRICT

;
INSERT INTO "blob" VALUES('bf0f582c5067079eb6283b79906ea105852367d717c43a22d9f09ee751eb3cf4',8,'application/safetensors','inline',X'7765696768747300',NULL);
INSERT INTO "blob" VALUES('b9f63852e385be2847fb46ccabffb7e577964d73ca73769c2858942b5bd806f1',8,'application/safetensors','inline',X'7765696768747301',NULL);
CREATE TABLE campaign (
	id INTEGER NOT NULL, 
	uuid TEXT NOT NULL, 
	name TEXT NOT NULL, 
	config_json TEXT NOT NULL, 
	config_sha TEXT NOT NULL, 
	seed INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	verdict TEXT NOT NULL, 
	stop_mode TEXT, 
	stop_requested REAL, 
	created REAL NOT NULL, 
	CONSTRAINT pk_campaign PRIMARY KEY (id), 
	CONSTRAINT ck_campaign_state CHECK (state = 'running' OR state = 'converged' OR state = 'finished' OR state = 'stopped' OR state = 'failed'), 
	CONSTRAINT ck_campaign_stop_mode CHECK (stop_mode = 'drain' OR stop_mode = 'now'), 
	CONSTRAINT ck_campaign_name CHECK (length(name) > 0), 
	CONSTRAINT uq_campaign_name UNIQUE (name), 
	CONSTRAINT uq_campaign_uuid UNIQUE (uuid)
)
 STRICT

;
INSERT INTO "campaign" VALUES(1,'525c7f33-b7d1-4fc6-8702-5a6c9c055d90','water','{"nested":{"a":[1,2]},"seed":5}','175e30df94a1db8bfb064d8b00dd8f742ff38b372f36242e7559a028f7d2dca5',5,'running','',NULL,NULL,1.79528520301995587341e+09);
CREATE TABLE campaign_structure (
	structure_id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	group_key TEXT NOT NULL, 
	split TEXT NOT NULL, 
	source TEXT NOT NULL, 
	added_iter INTEGER NOT NULL, 
	CONSTRAINT pk_campaign_structure PRIMARY KEY (structure_id, campaign_id), 
	CONSTRAINT ck_campaign_structure_split CHECK (split = 'train' OR split = 'val' OR split = 'test'), 
	CONSTRAINT fk_campaign_structure_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT fk_campaign_structure_structure_id FOREIGN KEY(structure_id) REFERENCES structure (id)
)
 WITHOUT ROWID,
 STRICT

;
INSERT INTO "campaign_structure" VALUES(1,1,'test/0','test','molecules',0);
INSERT INTO "campaign_structure" VALUES(2,1,'test/1','test','molecules',0);
INSERT INTO "campaign_structure" VALUES(3,1,'train/0','train','molecules',0);
INSERT INTO "campaign_structure" VALUES(4,1,'train/1','train','molecules',0);
INSERT INTO "campaign_structure" VALUES(5,1,'train/2','train','molecules',0);
INSERT INTO "campaign_structure" VALUES(6,1,'train/3','train','molecules',0);
INSERT INTO "campaign_structure" VALUES(7,1,'train/4','train','molecules',0);
INSERT INTO "campaign_structure" VALUES(8,1,'train/5','train','molecules',0);
INSERT INTO "campaign_structure" VALUES(10,1,'sample/i1/r0/0/0','train','nemd',1);
INSERT INTO "campaign_structure" VALUES(11,1,'sample/i1/r0/0/0','train','nemd',1);
INSERT INTO "campaign_structure" VALUES(13,1,'sample/i1/r0/0/1','train','nemd',1);
INSERT INTO "campaign_structure" VALUES(14,1,'sample/i1/r0/0/1','train','nemd',1);
CREATE TABLE candidate (
	id INTEGER NOT NULL, 
	iteration_id INTEGER NOT NULL, 
	structure_id INTEGER NOT NULL, 
	trajectory_id INTEGER NOT NULL, 
	ensemble_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	time_fs REAL NOT NULL, 
	"temperature_K" REAL NOT NULL, 
	reason TEXT NOT NULL, 
	measure TEXT NOT NULL, 
	energy_spread REAL, 
	force_spread_mean REAL, 
	force_spread_max REAL, 
	force_scale REAL, 
	decision TEXT NOT NULL, 
	decision_reason TEXT NOT NULL, 
	rank INTEGER, 
	fingerprint BLOB, 
	cost_core_s REAL, 
	CONSTRAINT pk_candidate PRIMARY KEY (id), 
	CONSTRAINT ck_candidate_rank CHECK ((decision = 'selected') = (rank IS NOT NULL)), 
	CONSTRAINT ck_candidate_decision CHECK (decision = 'selected' OR decision = 'duplicate' OR decision = 'filtered' OR decision = 'over-budget'), 
	CONSTRAINT ck_candidate_reason CHECK (reason = 'flagged' OR reason = 'audit'), 
	CONSTRAINT ck_candidate_cost_core_s_finite CHECK (cost_core_s > -1e300 AND cost_core_s < 1e300), 
	CONSTRAINT ck_candidate_energy_spread_finite CHECK (energy_spread > -1e300 AND energy_spread < 1e300), 
	CONSTRAINT ck_candidate_force_scale_finite CHECK (force_scale > -1e300 AND force_scale < 1e300), 
	CONSTRAINT ck_candidate_force_spread_max_finite CHECK (force_spread_max > -1e300 AND force_spread_max < 1e300), 
	CONSTRAINT ck_candidate_force_spread_mean_finite CHECK (force_spread_mean > -1e300 AND force_spread_mean < 1e300), 
	CONSTRAINT "ck_candidate_temperature_K_finite" CHECK ("temperature_K" > -1e300 AND "temperature_K" < 1e300), 
	CONSTRAINT ck_candidate_time_fs_finite CHECK (time_fs > -1e300 AND time_fs < 1e300), 
	CONSTRAINT fk_candidate_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id), 
	CONSTRAINT fk_candidate_iteration_id FOREIGN KEY(iteration_id) REFERENCES iteration (id), 
	CONSTRAINT fk_candidate_structure_id FOREIGN KEY(structure_id) REFERENCES structure (id), 
	CONSTRAINT fk_candidate_trajectory_id FOREIGN KEY(trajectory_id) REFERENCES trajectory (id), 
	CONSTRAINT uq_candidate_iteration_id_structure_id UNIQUE (iteration_id, structure_id)
)
 STRICT

;
INSERT INTO "candidate" VALUES(1,2,10,1,1,100,50.0,300.0,'flagged','energy',0.1,0.2,0.3,1.0,'selected','large spread',0,X'000000000000F03F0000000000000040',NULL);
INSERT INTO "candidate" VALUES(2,2,11,1,1,40,20.0,310.0,'audit','',0.1,0.2,0.3,1.0,'selected','large spread',1,NULL,NULL);
INSERT INTO "candidate" VALUES(3,2,13,2,1,100,50.0,300.0,'flagged','energy',NULL,0.2,0.3,1.0,'over-budget','rank 3',NULL,NULL,NULL);
INSERT INTO "candidate" VALUES(4,2,14,2,1,40,20.0,310.0,'audit','',NULL,0.2,0.3,1.0,'over-budget','rank 3',NULL,NULL,NULL);
CREATE TABLE ensemble (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	iteration INTEGER NOT NULL, 
	role TEXT NOT NULL, 
	snapshot_id INTEGER NOT NULL, 
	lot_id INTEGER NOT NULL, 
	parent_id INTEGER, 
	relation TEXT NOT NULL, 
	arch_json TEXT NOT NULL, 
	arch_sha TEXT NOT NULL, 
	state TEXT NOT NULL, 
	weights_sha TEXT, 
	created REAL NOT NULL, 
	trained REAL, 
	CONSTRAINT pk_ensemble PRIMARY KEY (id), 
	CONSTRAINT ck_ensemble_relation CHECK (relation = 'fresh' OR relation = 'warm_start' OR relation = 'transfer' OR relation = 'distill' OR relation = 'fine_tune'), 
	CONSTRAINT ck_ensemble_role CHECK (role = 'committee' OR role = 'student' OR role = 'baseline'), 
	CONSTRAINT ck_ensemble_weights CHECK (state != 'ready' OR weights_sha IS NOT NULL), 
	CONSTRAINT ck_ensemble_state CHECK (state = 'planned' OR state = 'training' OR state = 'ready' OR state = 'rejected' OR state = 'retired'), 
	CONSTRAINT fk_ensemble_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT fk_ensemble_lot_id FOREIGN KEY(lot_id) REFERENCES level_of_theory (id), 
	CONSTRAINT fk_ensemble_parent_id FOREIGN KEY(parent_id) REFERENCES ensemble (id), 
	CONSTRAINT fk_ensemble_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshot (id), 
	CONSTRAINT fk_ensemble_weights_sha FOREIGN KEY(weights_sha) REFERENCES blob (sha256), 
	CONSTRAINT uq_ensemble_campaign_id_generation_role UNIQUE (campaign_id, generation, role)
)
 STRICT

;
INSERT INTO "ensemble" VALUES(1,1,0,0,'committee',1,1,NULL,'fresh','{"kind":"ani"}','23a9fcabea5a98ff37e4a4a5a0eda569bc27ecbf3e06f2faee6fd4897839c712','ready','bf0f582c5067079eb6283b79906ea105852367d717c43a22d9f09ee751eb3cf4',1.79528520373304462435e+09,1.79528520384152936928e+09);
INSERT INTO "ensemble" VALUES(2,1,1,1,'committee',2,1,1,'warm_start','{"kind":"ani"}','23a9fcabea5a98ff37e4a4a5a0eda569bc27ecbf3e06f2faee6fd4897839c712','ready','b9f63852e385be2847fb46ccabffb7e577964d73ca73769c2858942b5bd806f1',1.79528520413897633555e+09,1.79528520422050476071e+09);
CREATE TABLE ensemble_metric (
	ensemble_id INTEGER NOT NULL, 
	split TEXT NOT NULL, 
	name TEXT NOT NULL, 
	value REAL, 
	CONSTRAINT pk_ensemble_metric PRIMARY KEY (ensemble_id, split, name), 
	CONSTRAINT ck_ensemble_metric_value_finite CHECK (value > -1e300 AND value < 1e300), 
	CONSTRAINT fk_ensemble_metric_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id)
)
 STRICT

;
INSERT INTO "ensemble_metric" VALUES(1,'test','force_rmse',0.2);
INSERT INTO "ensemble_metric" VALUES(1,'test','n',2.0);
INSERT INTO "ensemble_metric" VALUES(1,'test','bad',NULL);
CREATE TABLE environment (
	id INTEGER NOT NULL, 
	sha TEXT NOT NULL, 
	alflow_version TEXT, 
	python TEXT, 
	packages_json TEXT NOT NULL, 
	hostname TEXT, 
	device TEXT, 
	CONSTRAINT pk_environment PRIMARY KEY (id), 
	CONSTRAINT uq_environment_sha UNIQUE (sha)
)
 STRICT

;
INSERT INTO "environment" VALUES(1,'6146275ffb57fd7327c216184cdf4155847e5ed9760e61cb659b1a5a40e2d582',NULL,NULL,'{"host":"n1"}','n1',NULL);
CREATE TABLE event (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	ts REAL NOT NULL, 
	epoch INTEGER, 
	kind TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	data_json TEXT NOT NULL, 
	CONSTRAINT pk_event PRIMARY KEY (id), 
	CONSTRAINT ck_event_severity CHECK (severity = 'info' OR severity = 'warning' OR severity = 'error'), 
	CONSTRAINT fk_event_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id)
)
 STRICT

;
INSERT INTO "event" VALUES(1,1,1.79528520301995587341e+09,NULL,'campaign-created','info','water','{"seed":5}');
INSERT INTO "event" VALUES(2,1,1.7952852030794296265e+09,1,'lease-acquired','info','tester','{"boot_id":"f1b59069-dcd8-484f-ba8e-5ac8f4e5d290","epoch":1,"host":"vm","pid":1348}');
INSERT INTO "event" VALUES(3,1,1.79528520313820314402e+09,1,'iteration-started','info','i0','{"phase":"build"}');
INSERT INTO "event" VALUES(4,1,1.79528520373304462435e+09,1,'generation-planned','info','g0','{"digest":"0dc1d177e441658078aa1e302c82a888bbad2e1f1d39055298eff42f94c29d10","n_train":6,"n_val":0}');
INSERT INTO "event" VALUES(5,1,1.79528520384152936928e+09,1,'generation-ready','info','g0','{"members":2}');
INSERT INTO "event" VALUES(6,1,1.79528520394220495216e+09,1,'iteration-ended','info','i0','{"n_labelled":8.0}');
INSERT INTO "event" VALUES(7,1,1.79528520397306728365e+09,1,'iteration-started','info','i1','{"phase":"sample"}');
INSERT INTO "event" VALUES(8,1,1.79528520401697325699e+09,1,'candidates-selected','info','i1','{"candidates":4,"selected":2}');
INSERT INTO "event" VALUES(9,1,1.79528520413897633555e+09,1,'generation-planned','info','g1','{"digest":"e2b2e1f2b6ab67d40488301a8a4a34ce54fa6d3e0513c14b3603db522522b045","n_train":8,"n_val":0}');
INSERT INTO "event" VALUES(10,1,1.79528520422050476071e+09,1,'generation-ready','info','g1','{"members":2}');
CREATE TABLE iteration (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	phase TEXT NOT NULL, 
	ensemble_id INTEGER, 
	n_flagged INTEGER, 
	n_candidates INTEGER, 
	n_selected INTEGER, 
	started REAL NOT NULL, 
	ended REAL, 
	CONSTRAINT pk_iteration PRIMARY KEY (id), 
	CONSTRAINT ck_iteration_phase CHECK (length(phase) > 0), 
	CONSTRAINT ck_iteration_number CHECK (number >= 0), 
	CONSTRAINT fk_iteration_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT fk_iteration_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id), 
	CONSTRAINT uq_iteration_campaign_id_number UNIQUE (campaign_id, number)
)
 STRICT

;
INSERT INTO "iteration" VALUES(1,1,0,'validate',NULL,NULL,NULL,NULL,1.79528520313820314402e+09,1.79528520394220495216e+09);
INSERT INTO "iteration" VALUES(2,1,1,'train',1,2,4,2,1.79528520397306728365e+09,NULL);
CREATE TABLE iteration_stat (
	iteration_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	value REAL NOT NULL, 
	CONSTRAINT pk_iteration_stat PRIMARY KEY (iteration_id, name), 
	CONSTRAINT ck_iteration_stat_value_finite CHECK (value > -1e300 AND value < 1e300), 
	CONSTRAINT fk_iteration_stat_iteration_id FOREIGN KEY(iteration_id) REFERENCES iteration (id)
)
 STRICT

;
INSERT INTO "iteration_stat" VALUES(1,'n_labelled',8.0);
CREATE TABLE label (
	id INTEGER NOT NULL, 
	structure_id INTEGER NOT NULL, 
	lot_id INTEGER NOT NULL, 
	rev INTEGER DEFAULT 0 NOT NULL, 
	superseded_by INTEGER, 
	n_atoms INTEGER NOT NULL, 
	energy REAL NOT NULL, 
	forces BLOB, 
	stress BLOB, 
	dipole BLOB, 
	charges BLOB, 
	fmax REAL, 
	quality TEXT NOT NULL, 
	content_sha BLOB NOT NULL, 
	extras_json TEXT, 
	attempt_id INTEGER, 
	program_version TEXT NOT NULL, 
	created REAL NOT NULL, 
	CONSTRAINT pk_label PRIMARY KEY (id), 
	CONSTRAINT ck_label_quality CHECK (quality = 'ok' OR quality = 'suspect' OR quality = 'rejected'), 
	CONSTRAINT ck_label_energy_finite CHECK (energy > -1e300 AND energy < 1e300), 
	CONSTRAINT ck_label_fmax_finite CHECK (fmax > -1e300 AND fmax < 1e300), 
	CONSTRAINT ck_label_charges_size CHECK (length(charges) = 8 * n_atoms), 
	CONSTRAINT ck_label_dipole_size CHECK (length(dipole) = 24), 
	CONSTRAINT ck_label_forces_size CHECK (length(forces) = 24 * n_atoms), 
	CONSTRAINT ck_label_stress_size CHECK (length(stress) = 48), 
	CONSTRAINT ck_label_content_sha_size CHECK (length(content_sha) = 32), 
	CONSTRAINT ck_label_n_atoms CHECK (n_atoms > 0), 
	CONSTRAINT fk_label_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id), 
	CONSTRAINT fk_label_id FOREIGN KEY(id) REFERENCES label_item (id), 
	CONSTRAINT fk_label_lot_id FOREIGN KEY(lot_id) REFERENCES level_of_theory (id), 
	CONSTRAINT fk_label_structure_id FOREIGN KEY(structure_id) REFERENCES structure (id), 
	CONSTRAINT fk_label_superseded_by FOREIGN KEY(superseded_by) REFERENCES label (id)
)
 STRICT

;
INSERT INTO "label" VALUES(1,1,1,0,NULL,3,-1.99944545485753724274e+03,X'94FF1AF852A9C7BFA3DAC600DF6EE7BF1EE2A2388C99C0BFD82C035CC88DB53FDB0DA170AF6DE0BF8429F0F9370EF83FCB1B548F3724F2BF9F07E5FECAB4DF3F6DB913DF8CE8D13F',NULL,NULL,NULL,1.59093791353935198884e+00,'ok',X'E7B50D05CEAC8C57DCEB0F73FAC950908A000BB9D3F7E6D89FE734B6AB3F7637','{"cycles":9}',2,'analytic 1',1.79528520359673476221e+09);
INSERT INTO "label" VALUES(2,2,1,0,NULL,3,-2.00072439320254943603e+03,X'B6D716E95ABCE23F6217855BC881DD3F9F31A8B8CD60D83F8BC4957E6564FBBF2C6FA48CB9A4FABFF2C3339CF5E0F43F5B00F52F99C0943FCBD5AC0F1644F9BF134D2BB1F16CEDBF',NULL,NULL,NULL,2.72153380939837186147e+00,'ok',X'0D88D0EB7CB87DAB5FC024F6F383B8A8705446DD1B946B922110E26291E176DC','{"cycles":9}',2,'analytic 1',1.79528520359673476221e+09);
INSERT INTO "label" VALUES(3,3,1,0,NULL,3,-1.99798059070974181848e+03,X'9AB29E52AF93FABF5258F3CF07ABDFBFA86CF6AD94A2EFBF542CA935B233C3BFD85C3A13D5FFE83F65C1CC6B03EAE03F5DA8BEC9CF89E63F4CE5F769F2CFCABF8E36E142646AE3BF',NULL,NULL,NULL,1.9953120057068236548e+00,'ok',X'05BD14D54B2C0F6762108664F8136BA19D197A734C57E13E8CD82CFEECEBBFFF','{"cycles":9}',2,'analytic 1',1.79528520359673476221e+09);
INSERT INTO "label" VALUES(4,4,1,0,NULL,3,-2.00055852740360683118e+03,X'8E3661B2B5BCF6BF398DB9C2D7F7E2BF854F88933859F73F7B5DE0599052EA3F39BA50CC363BF43F4888C4ADEAB4FFBF468947937602BCBF3E508301B42A96BF1FE8DB48802BD4BF',NULL,NULL,NULL,2.49048156627537897733e+00,'ok',X'B1FA3FDAA608A2D48448FDD9E07DF5766E91FCE8D4746D819B2F9978AA8D2BA9','{"cycles":9}',2,'analytic 1',1.79528520359673476221e+09);
INSERT INTO "label" VALUES(5,5,1,0,NULL,3,-1.99958672163148980863e+03,X'8A861909B57FE5BF0E4AD869EA5E00402E956E6F088AD1BF0FB9FFC87F49F43F77920D108D42014071960DA9C5E8EBBFE55B8EC8BD0BA8BFE8D948395C3DF93FF0211E324472E13F',NULL,NULL,NULL,2.65012088205310902822e+00,'ok',X'9748962157F0CB761BD4E2C1EBBFB611637A60CC54CCA93FA6C5098B4BC45422','{"cycles":9}',3,'analytic 1',1.79528520370462083815e+09);
INSERT INTO "label" VALUES(6,6,1,0,NULL,3,-1.99926150103391660197e+03,X'553E85406F28FEBFC805326ECCD0E7BF5F2919991C46DF3FC7A543BBE998CCBFCEF7FF559AEECE3F3C217CEE6079EF3F54FB8F2B0653EF3F2DF24590DF89E33F6AC89763884903C0',NULL,NULL,NULL,2.67272987308221177116e+00,'ok',X'6EB7A691F75447024D8DDD0AE8F997B52C0C9AD6F8A7CA2A1ACB0CFF60F61A95','{"cycles":9}',3,'analytic 1',1.79528520370462083815e+09);
INSERT INTO "label" VALUES(7,7,1,0,NULL,3,-2.00144219785417340072e+03,X'12E4FB6C527CE3BF0A30F3970CD8F93F779C1D2F6E3DF8BF97974B0F6D72A53F521ADA4F0994EEBF753009B919E8F4BF28BA380DF762D63F978D3D894749C1BF35EDD6A91B1AD3BF',NULL,NULL,NULL,2.29674327879431183774e+00,'ok',X'B6F1048043EAB48450A239F07576259E935E2BEF697B25938B46F11060E67E0B','{"cycles":9}',3,'analytic 1',1.79528520370462083815e+09);
INSERT INTO "label" VALUES(8,8,1,0,NULL,3,-1.9996756701016777242e+03,X'1431D82379CDE0BF518A4A9A857981BF8E8BCE6CDC07E83F1FC0447ACEB1E53FDB6F98651C14F83FD2D0AB6F5CE603C0835F8E47A0EED23F93AA161590C2C9BF4B713A21B6F4D83F',NULL,NULL,NULL,2.98528697791630159841e+00,'ok',X'51D73E29286DABEDA020F2C9CF18B8DB3B81D902BDF197883FAA738E8D24E40B','{"cycles":9}',3,'analytic 1',1.79528520370462083815e+09);
INSERT INTO "label" VALUES(9,10,1,0,NULL,3,-2.00196118944343561451e+03,X'F7E3E10991A2E5BFC90349565783D93F8CB0F808747CEABFC64F515BA63EF2BFD24959C3B157F73F31DC9B0C4466F1BF09C082BBCC13F3BF75051C5FD0BCF03F94B384D6D708D2BF',NULL,NULL,NULL,2.14738823285261792861e+00,'ok',X'8D19B8CD7AD99DF7D2DF1C939250324B7DAC7510020186F59FC920E99A626488','{"cycles":9}',7,'analytic 1',1.79528520410610961917e+09);
INSERT INTO "label" VALUES(10,11,1,0,NULL,3,-1.99924447602766599627e+03,X'72C0EB764766E2BF0FBB3E51CDFDF43F5DC1A0462CB5F8BF2DF2F2C1A425EDBF56171E11EE94F73FC37820077569E73FBC44A7816760D7BFE1E7321B9470EABF7966FB42C6CDC03F',NULL,NULL,NULL,2.10630183791822389594e+00,'ok',X'CE77C1859B15EB07BE97889E4F844E5B0089ED1A928A6C56AB74406E0FE684F6','{"cycles":9}',7,'analytic 1',1.79528520410610961917e+09);
CREATE TABLE label_count (
	iteration_id INTEGER NOT NULL, 
	lot_id INTEGER NOT NULL, 
	split TEXT NOT NULL, 
	state TEXT NOT NULL, 
	n INTEGER NOT NULL, 
	CONSTRAINT pk_label_count PRIMARY KEY (iteration_id, lot_id, split, state), 
	CONSTRAINT ck_label_count_split CHECK (split = 'train' OR split = 'val' OR split = 'test'), 
	CONSTRAINT ck_label_count_state CHECK (state = 'pending' OR state = 'ok' OR state = 'failed'), 
	CONSTRAINT fk_label_count_lot_id FOREIGN KEY(lot_id) REFERENCES level_of_theory (id)
)
 STRICT

;
INSERT INTO "label_count" VALUES(1,1,'test','pending',0);
INSERT INTO "label_count" VALUES(1,1,'train','pending',0);
INSERT INTO "label_count" VALUES(1,1,'test','ok',2);
INSERT INTO "label_count" VALUES(1,1,'train','ok',6);
INSERT INTO "label_count" VALUES(2,1,'train','pending',0);
INSERT INTO "label_count" VALUES(2,1,'train','ok',2);
CREATE TABLE label_extra (
	label_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	dtype TEXT NOT NULL, 
	shape TEXT NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_label_extra PRIMARY KEY (label_id, name), 
	CONSTRAINT fk_label_extra_label_id FOREIGN KEY(label_id) REFERENCES label (id)
)
 STRICT

;
CREATE TABLE label_item (
	id INTEGER NOT NULL, 
	task_id INTEGER, 
	position INTEGER, 
	structure_id INTEGER NOT NULL, 
	lot_id INTEGER NOT NULL, 
	rev INTEGER DEFAULT 0 NOT NULL, 
	state TEXT NOT NULL, 
	failure_kind TEXT, 
	message TEXT, 
	details_json TEXT, 
	CONSTRAINT pk_label_item PRIMARY KEY (id), 
	CONSTRAINT ck_label_item_failure CHECK ((state = 'failed') = (failure_kind IS NOT NULL)), 
	CONSTRAINT ck_label_item_failure_kind CHECK (failure_kind = 'invalid-input' OR failure_kind = 'bad-geometry' OR failure_kind = 'not-converged' OR failure_kind = 'suspicious-label' OR failure_kind = 'resource' OR failure_kind = 'crash' OR failure_kind = 'lost' OR failure_kind = 'diverged' OR failure_kind = 'bug'), 
	CONSTRAINT ck_label_item_state CHECK (state = 'pending' OR state = 'ok' OR state = 'failed'), 
	CONSTRAINT fk_label_item_lot_id FOREIGN KEY(lot_id) REFERENCES level_of_theory (id), 
	CONSTRAINT fk_label_item_structure_id FOREIGN KEY(structure_id) REFERENCES structure (id), 
	CONSTRAINT fk_label_item_task_id FOREIGN KEY(task_id) REFERENCES task (id), 
	CONSTRAINT uq_label_item_structure_id_lot_id_rev UNIQUE (structure_id, lot_id, rev), 
	CONSTRAINT uq_label_item_task_id_position UNIQUE (task_id, position)
)
 STRICT

;
INSERT INTO "label_item" VALUES(1,2,0,1,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(2,2,1,2,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(3,2,2,3,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(4,2,3,4,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(5,3,0,5,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(6,3,1,6,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(7,3,2,7,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(8,3,3,8,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(9,7,0,10,1,0,'ok',NULL,NULL,NULL);
INSERT INTO "label_item" VALUES(10,7,1,11,1,0,'ok',NULL,NULL,NULL);
CREATE TABLE level_of_theory (
	id INTEGER NOT NULL, 
	spec_hash TEXT NOT NULL, 
	name TEXT NOT NULL, 
	tier TEXT, 
	program TEXT, 
	method TEXT, 
	basis TEXT, 
	settings_json TEXT NOT NULL, 
	charge_model TEXT, 
	CONSTRAINT pk_level_of_theory PRIMARY KEY (id), 
	CONSTRAINT uq_level_of_theory_name UNIQUE (name), 
	CONSTRAINT uq_level_of_theory_spec_hash UNIQUE (spec_hash)
)
 STRICT

;
INSERT INTO "level_of_theory" VALUES(1,'9aeda05b63f4699ffc440e7c5cdadfcc349201d4ab0144b74458dac8495565ad','dft',NULL,'pyscf','pbe',NULL,'{"kind":"pyscf","method":"pbe"}',NULL);
CREATE TABLE lot_reference (
	lot_id INTEGER NOT NULL, 
	z INTEGER NOT NULL, 
	energy REAL NOT NULL, 
	CONSTRAINT pk_lot_reference PRIMARY KEY (lot_id, z), 
	CONSTRAINT ck_lot_reference_energy_finite CHECK (energy > -1e300 AND energy < 1e300), 
	CONSTRAINT fk_lot_reference_lot_id FOREIGN KEY(lot_id) REFERENCES level_of_theory (id)
)
 STRICT

;
CREATE TABLE manager_lease (
	campaign_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	holder TEXT, 
	host TEXT, 
	boot_id TEXT, 
	pid INTEGER, 
	renewed REAL NOT NULL, 
	expires REAL NOT NULL, 
	CONSTRAINT pk_manager_lease PRIMARY KEY (campaign_id), 
	CONSTRAINT ck_manager_lease_epoch CHECK (epoch >= 0), 
	CONSTRAINT fk_manager_lease_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id)
)
 STRICT

;
INSERT INTO "manager_lease" VALUES(1,1,'tester','node1','f1b59069-dcd8-484f-ba8e-5ac8f4e5d290',1348,1.79528520306595420832e+09,0.0);
CREATE TABLE metric (
	model_id INTEGER NOT NULL, 
	split TEXT NOT NULL, 
	name TEXT NOT NULL, 
	value REAL, 
	n INTEGER, 
	CONSTRAINT pk_metric PRIMARY KEY (model_id, split, name), 
	CONSTRAINT ck_metric_value_finite CHECK (value > -1e300 AND value < 1e300), 
	CONSTRAINT fk_metric_model_id FOREIGN KEY(model_id) REFERENCES model (id)
)
 STRICT

;
INSERT INTO "metric" VALUES(1,'val','force_rmse',0.1,NULL);
INSERT INTO "metric" VALUES(3,'val','force_rmse',0.1,NULL);
CREATE TABLE metric_epoch (
	ensemble_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	value REAL, 
	CONSTRAINT pk_metric_epoch PRIMARY KEY (ensemble_id, epoch, name), 
	CONSTRAINT ck_metric_epoch_value_finite CHECK (value > -1e300 AND value < 1e300), 
	CONSTRAINT fk_metric_epoch_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id)
)
 STRICT

;
INSERT INTO "metric_epoch" VALUES(1,1,'loss',2.0);
INSERT INTO "metric_epoch" VALUES(1,2,'loss',NULL);
INSERT INTO "metric_epoch" VALUES(2,1,'loss',2.0);
INSERT INTO "metric_epoch" VALUES(2,2,'loss',NULL);
CREATE TABLE model (
	id INTEGER NOT NULL, 
	ensemble_id INTEGER NOT NULL, 
	member INTEGER NOT NULL, 
	seed INTEGER, 
	fold INTEGER, 
	parent_model_id INTEGER, 
	state TEXT NOT NULL, 
	best_epoch INTEGER, 
	CONSTRAINT pk_model PRIMARY KEY (id), 
	CONSTRAINT ck_model_state CHECK (state = 'planned' OR state = 'training' OR state = 'ready' OR state = 'rejected' OR state = 'retired'), 
	CONSTRAINT fk_model_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id), 
	CONSTRAINT fk_model_parent_model_id FOREIGN KEY(parent_model_id) REFERENCES model (id), 
	CONSTRAINT uq_model_ensemble_id_member UNIQUE (ensemble_id, member)
)
 STRICT

;
INSERT INTO "model" VALUES(1,1,0,3,NULL,NULL,'ready',5);
INSERT INTO "model" VALUES(2,1,1,4,NULL,NULL,'ready',NULL);
INSERT INTO "model" VALUES(3,2,0,3,NULL,NULL,'ready',5);
INSERT INTO "model" VALUES(4,2,1,4,NULL,NULL,'ready',NULL);
CREATE TABLE prediction (
	ensemble_id INTEGER NOT NULL, 
	label_id INTEGER NOT NULL, 
	energy REAL, 
	energy_spread REAL, 
	force_rmse REAL, 
	force_spread_mean REAL, 
	force_spread_max REAL, 
	force_scale REAL, 
	forces BLOB, 
	CONSTRAINT pk_prediction PRIMARY KEY (ensemble_id, label_id), 
	CONSTRAINT ck_prediction_energy_finite CHECK (energy > -1e300 AND energy < 1e300), 
	CONSTRAINT ck_prediction_energy_spread_finite CHECK (energy_spread > -1e300 AND energy_spread < 1e300), 
	CONSTRAINT ck_prediction_force_rmse_finite CHECK (force_rmse > -1e300 AND force_rmse < 1e300), 
	CONSTRAINT ck_prediction_force_scale_finite CHECK (force_scale > -1e300 AND force_scale < 1e300), 
	CONSTRAINT ck_prediction_force_spread_max_finite CHECK (force_spread_max > -1e300 AND force_spread_max < 1e300), 
	CONSTRAINT ck_prediction_force_spread_mean_finite CHECK (force_spread_mean > -1e300 AND force_spread_mean < 1e300), 
	CONSTRAINT fk_prediction_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id), 
	CONSTRAINT fk_prediction_label_id FOREIGN KEY(label_id) REFERENCES label (id)
)
 STRICT

;
INSERT INTO "prediction" VALUES(1,1,-1.99934545485753733373e+03,0.01,0.2,0.1,0.3,1.5,NULL);
INSERT INTO "prediction" VALUES(1,2,-2.00062439320254952684e+03,0.01,0.2,0.1,0.3,1.5,NULL);
CREATE TABLE property (
	task_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	ensemble_id INTEGER, 
	lot_id INTEGER, 
	suite TEXT NOT NULL, 
	value REAL, 
	unit TEXT NOT NULL, 
	members_json TEXT, 
	CONSTRAINT pk_property PRIMARY KEY (task_id, name), 
	CONSTRAINT ck_property_owner CHECK ((ensemble_id IS NULL) != (lot_id IS NULL)), 
	CONSTRAINT ck_property_value_finite CHECK (value > -1e300 AND value < 1e300), 
	CONSTRAINT fk_property_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id), 
	CONSTRAINT fk_property_lot_id FOREIGN KEY(lot_id) REFERENCES level_of_theory (id), 
	CONSTRAINT fk_property_task_id FOREIGN KEY(task_id) REFERENCES task (id)
)
 STRICT

;
CREATE TABLE sighting (
	structure_id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	group_key TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	attempt_id INTEGER, 
	trajectory_id INTEGER, 
	step INTEGER, 
	parent_structure_id INTEGER, 
	file_id INTEGER, 
	frame INTEGER, 
	CONSTRAINT pk_sighting PRIMARY KEY (structure_id, source, group_key, kind), 
	CONSTRAINT ck_sighting_kind CHECK (kind = 'builder' OR kind = 'import' OR kind = 'start' OR kind = 'sampler' OR kind = 'relax' OR kind = 'augment'), 
	CONSTRAINT fk_sighting_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id), 
	CONSTRAINT fk_sighting_file_id FOREIGN KEY(file_id) REFERENCES source_file (id), 
	CONSTRAINT fk_sighting_parent_structure_id FOREIGN KEY(parent_structure_id) REFERENCES structure (id), 
	CONSTRAINT fk_sighting_structure_id FOREIGN KEY(structure_id) REFERENCES structure (id), 
	CONSTRAINT fk_sighting_trajectory_id FOREIGN KEY(trajectory_id) REFERENCES trajectory (id)
)
 WITHOUT ROWID,
 STRICT

;
INSERT INTO "sighting" VALUES(1,'molecules','test/0','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(2,'molecules','test/1','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(3,'molecules','train/0','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(4,'molecules','train/1','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(5,'molecules','train/2','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(6,'molecules','train/3','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(7,'molecules','train/4','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(8,'molecules','train/5','builder',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(9,'molecules','sample/i1/r0/0/0','start',6,1,0,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(10,'nemd','sample/i1/r0/0/0','sampler',NULL,1,100,9,NULL,NULL);
INSERT INTO "sighting" VALUES(11,'nemd','sample/i1/r0/0/0','sampler',NULL,1,40,9,NULL,NULL);
INSERT INTO "sighting" VALUES(12,'molecules','sample/i1/r0/0/1','start',6,2,0,NULL,NULL,NULL);
INSERT INTO "sighting" VALUES(13,'nemd','sample/i1/r0/0/1','sampler',NULL,2,100,12,NULL,NULL);
INSERT INTO "sighting" VALUES(14,'nemd','sample/i1/r0/0/1','sampler',NULL,2,40,12,NULL,NULL);
CREATE TABLE snapshot (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	n_train INTEGER NOT NULL, 
	n_val INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	rule_json TEXT NOT NULL, 
	created REAL NOT NULL, 
	CONSTRAINT pk_snapshot PRIMARY KEY (id), 
	CONSTRAINT fk_snapshot_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT uq_snapshot_campaign_id_seq UNIQUE (campaign_id, seq)
)
 STRICT

;
INSERT INTO "snapshot" VALUES(1,1,0,6,0,'0dc1d177e441658078aa1e302c82a888bbad2e1f1d39055298eff42f94c29d10','{"level":"dft","splits":["train","val"]}',1.79528520373304462435e+09);
INSERT INTO "snapshot" VALUES(2,1,1,8,0,'e2b2e1f2b6ab67d40488301a8a4a34ce54fa6d3e0513c14b3603db522522b045','{"level":"dft","splits":["train","val"]}',1.79528520413897633555e+09);
CREATE TABLE snapshot_interval (
	campaign_id INTEGER NOT NULL, 
	label_id INTEGER NOT NULL, 
	role TEXT NOT NULL, 
	from_seq INTEGER NOT NULL, 
	to_seq INTEGER, 
	CONSTRAINT pk_snapshot_interval PRIMARY KEY (campaign_id, label_id, from_seq), 
	CONSTRAINT ck_snapshot_interval_role CHECK (role = 'train' OR role = 'val' OR role = 'test'), 
	CONSTRAINT ck_snapshot_interval_interval CHECK (to_seq IS NULL OR to_seq > from_seq), 
	CONSTRAINT fk_snapshot_interval_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT fk_snapshot_interval_label_id FOREIGN KEY(label_id) REFERENCES label (id)
)
 STRICT

;
INSERT INTO "snapshot_interval" VALUES(1,3,'train',0,NULL);
INSERT INTO "snapshot_interval" VALUES(1,4,'train',0,NULL);
INSERT INTO "snapshot_interval" VALUES(1,5,'train',0,NULL);
INSERT INTO "snapshot_interval" VALUES(1,6,'train',0,NULL);
INSERT INTO "snapshot_interval" VALUES(1,7,'train',0,NULL);
INSERT INTO "snapshot_interval" VALUES(1,8,'train',0,NULL);
INSERT INTO "snapshot_interval" VALUES(1,9,'train',1,NULL);
INSERT INTO "snapshot_interval" VALUES(1,10,'train',1,NULL);
CREATE TABLE source_file (
	id INTEGER NOT NULL, 
	sha256 TEXT NOT NULL, 
	name TEXT NOT NULL, 
	CONSTRAINT pk_source_file PRIMARY KEY (id), 
	CONSTRAINT uq_source_file_sha256 UNIQUE (sha256)
)
 STRICT

;
CREATE TABLE store_meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_store_meta PRIMARY KEY ("key")
)
 STRICT

;
INSERT INTO "store_meta" VALUES('store_uuid','049818a8-3102-49ba-afc9-6ae0f2bc83e4');
INSERT INTO "store_meta" VALUES('created_by','0.1.0');
INSERT INTO "store_meta" VALUES('min_reader_version','0001');
INSERT INTO "store_meta" VALUES('hash_scheme','alflow-structure-v1');
CREATE TABLE structure (
	id INTEGER NOT NULL, 
	hash BLOB NOT NULL, 
	n_atoms INTEGER NOT NULL, 
	formula TEXT NOT NULL, 
	numbers BLOB NOT NULL, 
	positions BLOB NOT NULL, 
	cell BLOB, 
	pbc INTEGER NOT NULL, 
	charge INTEGER NOT NULL, 
	multiplicity INTEGER NOT NULL, 
	magmoms BLOB, 
	extra TEXT, 
	created REAL NOT NULL, 
	CONSTRAINT pk_structure PRIMARY KEY (id), 
	CONSTRAINT ck_structure_cell_size CHECK (length(cell) = 72), 
	CONSTRAINT ck_structure_hash_size CHECK (length(hash) = 32), 
	CONSTRAINT ck_structure_magmoms_size CHECK (length(magmoms) = 24 * n_atoms), 
	CONSTRAINT ck_structure_numbers_size CHECK (length(numbers) = n_atoms), 
	CONSTRAINT ck_structure_positions_size CHECK (length(positions) = 24 * n_atoms), 
	CONSTRAINT ck_structure_multiplicity CHECK (multiplicity > 0), 
	CONSTRAINT ck_structure_n_atoms CHECK (n_atoms > 0), 
	CONSTRAINT ck_structure_periodic_cell CHECK (pbc = 0 OR cell IS NOT NULL), 
	CONSTRAINT ck_structure_pbc CHECK (pbc >= 0 AND pbc <= 7), 
	CONSTRAINT uq_structure_hash UNIQUE (hash)
)
 STRICT

;
INSERT INTO "structure" VALUES(1,X'7087E223350A68471F8B099A98844EB63E85E1FF830B25685E94AEE4FBC5960B',3,'H2O',X'080101',X'EBBE8CF71DA2ADBF0037EE41C6AB8D3F428A4B9F67FDA33FCB23A8AF2197EF3FFE26985A849CA8BF3BCF1243F66AAB3FBDE7FA1D0E3BCABF360AC52D51E3EE3F151A0C9ED712A33F',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(2,X'1688C7FCF02ABC8DF3E556FB947D87405766A2A2A28D34412811E8D87D0F9866',3,'H2O',X'080101',X'E582AFBF573AA4BF756BA17D0F0BBABF5FA31FEC98E39E3F24108EDD2EE9EF3F097F33EF40B68FBF1D3106188ECE923FB19AB69802C6C3BF7BD446121075EF3F31C73C3C951DA23F',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(3,X'0EDD4F0A977759116AFB421C004114098BD25E1735C95C4BC1004397B4A37ED4',3,'H2O',X'080101',X'E614B22DE2BF793FB204849C180E7BBFC70D43D41265A03F5E78D28049E3EE3F37C2E43E206D9BBFEF21E17B7F83923F569FABADD85FC6BFEA9E2B007C46EF3FE286E7BEFF03A2BF',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(4,X'A1C4D4EAF86AB266253B5D3121978F4D18640C8A2491E085BC56C156C6305A7D',3,'H2O',X'080101',X'23226727A4B1913F1C3DE1998E08A53FCF7BAD951AEB903FB33ECCFB8BA2EC3FBC7139FB562DA73FAEC5C09DB8DA963F43B42D350814D1BF60890F0596B0EE3F983D01FB85AA923F',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(5,X'C287F009282F73D7414988F22913A32EAD7E4909B5F06B350E60B37C8B630E7D',3,'H2O',X'080101',X'223C14E4EB5B833F8A426890C4C39ABFF233A2721B2695BF0F8509824BD0EA3FC3B944FD4709B73FE95C38AD674AAD3F515A4D11BF66D0BF76A5E9DC82FFEE3FD78B1D64C4CB8C3F',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(6,X'72CC8694A8A67A3F36FA61E2363321B6F96CE648FF299A3D7E7F243F960B478E',3,'H2O',X'080101',X'8990E31CAF1FBA3FF800DD97335BC0BFA5D67FC61A68953F5B425FF6C2CFED3F6AB31CAEF62C97BF0F613E51C01386BFF1251AC5EED2D5BFF858347C8F63ED3FAE4BE8894226A6BF',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(7,X'A9BC671DBF928C9B9A0DBC320FBCCE28628641494897E0F09411C81CE2F7A214',3,'H2O',X'080101',X'0E35C82C94AFA0BF69FC04481BE481BFF97F7AD8B04BB53F79E38B934EC6EF3FCDF2AFC48702B5BF550B15B1C20C31BF1387A6CBE65AD1BFAFCD4A8370FFED3F0E6057B4B595B4BF',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(8,X'5B4E614CEBAB3E11971A0BC0075D0BF9C2B4B7D32F4238A9602433570184BA7E',3,'H2O',X'080101',X'60DEA9A18987A4BF627DA8D9A8F3B0BF8138D57BA66E89BFE4226BCB8864EF3FFE895FEB3115AD3FEE272160C677763FEB0F2085E320D1BFA4E4B42B1D81EC3F26D86600FB2AA33F',NULL,0,0,1,NULL,NULL,1.79528520346485090256e+09);
INSERT INTO "structure" VALUES(9,X'E32DFEFB762EB55AE90EA8FFF1FFE85690E694E946B71C8F440ACB8B99999CD6',3,'H2O',X'080101',X'C8B714E33E6A92BF6C8FE6E167D0AE3FCC86CAF941E1B13F5B4D8D86423AEF3F3BF107C92334953F4315278CA01099BF707584FC0149D2BF8F6356B5C551EC3F3C6F2197518FA9BF',NULL,0,0,1,NULL,NULL,1.79528520401697325699e+09);
INSERT INTO "structure" VALUES(10,X'AC334863C1E479E9C6BEA168106124F926BD0883F5D86534FD5F0EDBBB4A6DA0',3,'H2O',X'080101',X'41CB462919E7983FB37279BD457198BFFB1731819522A13F5A0DAA891580EC3F9ADBD679C852B53F51F31B47288D83BF8CEA00CAD74CCBBF6066D0B7A200EF3F7F217921FC0F893F',NULL,0,0,1,NULL,NULL,1.79528520401697325699e+09);
INSERT INTO "structure" VALUES(11,X'B63D8CBD01D12C12F2975BE3FD5B40C1015CF6CFB96145D6D4FB6E95C0DCC1E0',3,'H2O',X'080101',X'59E9839F17729DBF9D7E9233FBD99FBFAFDE13B1A96F703F2C46C095AA5CF03F226CDBA4609590BFDCBB4899BB33ACBF207C49DF7BEAD1BF67DE3F504D4DF03F20553D2EE4F091BF',NULL,0,0,1,NULL,NULL,1.79528520401697325699e+09);
INSERT INTO "structure" VALUES(12,X'DF1FB376ECFB62E3A474B89124E627A251C87CC6276FE0E0C71EEFF898FE2D75',3,'H2O',X'080101',X'9358EFC3835E923FB8EB630D3056B33FE9F3303873DDB6BF79F34C1694B5F03F8615766A916163BF52327360BD7AA4BF2515B634F1EDD1BF90A761CF0907EC3F24728FDFBAE686BF',NULL,0,0,1,NULL,NULL,1.79528520401697325699e+09);
INSERT INTO "structure" VALUES(13,X'8E74359FA50C12684B21ABA01A54BC17CB3AE6FB999008F5F8E8AD6BE6E8AE98',3,'H2O',X'080101',X'2B64B67DF224A5BF9A3F09E024D5883F5B33E83A43276ABFEA3C8D28AB91EE3F17F2297C8D8F903FF552A9C0660CA13F54DBF236DB81CDBFD39710399E0BEE3F58B5FF5C8F1DADBF',NULL,0,0,1,NULL,NULL,1.79528520401697325699e+09);
INSERT INTO "structure" VALUES(14,X'1CA7CF341DE00C3D49F4AA76BD15B2C5DD33DE629664A930EAD66FF1B89C1E73',3,'H2O',X'080101',X'5E5BCBA65470753FACEC92A3C6A5A4BFEE744AB4A2D5A63F973DC74FFC3BED3FA9D81C10B612ADBF01EC9227FF499A3F4DFFCCFF2F47C6BF839B738D22CDEF3F08C645DE075AB13F',NULL,0,0,1,NULL,NULL,1.79528520401697325699e+09);
CREATE TABLE submission (
	id INTEGER NOT NULL, 
	attempt_id INTEGER NOT NULL, 
	submit_key TEXT NOT NULL, 
	backend TEXT NOT NULL, 
	state TEXT NOT NULL, 
	external_id TEXT, 
	CONSTRAINT pk_submission PRIMARY KEY (id), 
	CONSTRAINT ck_submission_state CHECK (state = 'intent' OR state = 'submitted' OR state = 'adopted' OR state = 'gone'), 
	CONSTRAINT fk_submission_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id), 
	CONSTRAINT uq_submission_submit_key UNIQUE (submit_key)
)
 STRICT

;
CREATE TABLE task (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	iteration_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	lot_id INTEGER, 
	ensemble_id INTEGER, 
	state TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	not_before REAL, 
	spec_json TEXT NOT NULL, 
	item_hashes BLOB, 
	outcome_json TEXT, 
	attempts INTEGER NOT NULL, 
	charged INTEGER NOT NULL, 
	fence INTEGER, 
	owner TEXT, 
	lease_until REAL, 
	published REAL NOT NULL, 
	ended REAL, 
	CONSTRAINT pk_task PRIMARY KEY (id), 
	CONSTRAINT ck_task_state CHECK (state = 'queued' OR state = 'leased' OR state = 'done' OR state = 'failed' OR state = 'cancelled'), 
	CONSTRAINT ck_task_attempts CHECK (attempts >= charged AND charged >= 0), 
	CONSTRAINT ck_task_item_hashes CHECK (length(item_hashes) % 32 = 0), 
	CONSTRAINT ck_task_key CHECK (length(key) > 0), 
	CONSTRAINT fk_task_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT fk_task_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id), 
	CONSTRAINT fk_task_iteration_id FOREIGN KEY(iteration_id) REFERENCES iteration (id), 
	CONSTRAINT fk_task_lot_id FOREIGN KEY(lot_id) REFERENCES level_of_theory (id), 
	CONSTRAINT uq_task_campaign_id_key UNIQUE (campaign_id, "key")
)
 STRICT

;
INSERT INTO "task" VALUES(1,1,1,'build','build/bootstrap',NULL,NULL,'done',0,NULL,'{"inputs":{},"items":[],"key":"build/bootstrap","kind":"build","seed":7,"settings":{}}',NULL,'{"environment":{},"failure":null,"outputs":{},"values":{"sources":["x"]},"wall_s":0.0}',1,0,1,'tester',NULL,1.79528520313820314402e+09,1.79528520340967345236e+09);
INSERT INTO "task" VALUES(2,1,1,'label','label/i0/0',1,NULL,'done',0,NULL,'{"inputs":{},"items":[],"key":"label/i0/0","kind":"label","seed":7,"settings":{}}',X'7087E223350A68471F8B099A98844EB63E85E1FF830B25685E94AEE4FBC5960B1688C7FCF02ABC8DF3E556FB947D87405766A2A2A28D34412811E8D87D0F98660EDD4F0A977759116AFB421C004114098BD25E1735C95C4BC1004397B4A37ED4A1C4D4EAF86AB266253B5D3121978F4D18640C8A2491E085BC56C156C6305A7D','{"environment":{"host":"n1"},"failure":null,"outputs":{},"values":{},"wall_s":1.0}',1,0,1,'tester',NULL,1.79528520346485090256e+09,1.79528520364078640939e+09);
INSERT INTO "task" VALUES(3,1,1,'label','label/i0/4',1,NULL,'done',0,NULL,'{"inputs":{},"items":[],"key":"label/i0/4","kind":"label","seed":7,"settings":{}}',X'C287F009282F73D7414988F22913A32EAD7E4909B5F06B350E60B37C8B630E7D72CC8694A8A67A3F36FA61E2363321B6F96CE648FF299A3D7E7F243F960B478EA9BC671DBF928C9B9A0DBC320FBCCE28628641494897E0F09411C81CE2F7A2145B4E614CEBAB3E11971A0BC0075D0BF9C2B4B7D32F4238A9602433570184BA7E','{"environment":{"host":"n1"},"failure":null,"outputs":{},"values":{},"wall_s":1.0}',1,0,1,'tester',NULL,1.79528520346485090256e+09,1.79528520371622943882e+09);
INSERT INTO "task" VALUES(4,1,1,'train','train/g0',NULL,1,'done',0,NULL,'{"inputs":{},"items":[],"key":"train/g0","kind":"train","seed":7,"settings":{"digest":"0dc1d177e441658078aa1e302c82a888bbad2e1f1d39055298eff42f94c29d10","n":6}}',NULL,'{"environment":{},"failure":null,"outputs":{},"values":{},"wall_s":0.0}',1,0,1,'tester',NULL,1.79528520373304462435e+09,1.79528520384152936928e+09);
INSERT INTO "task" VALUES(5,1,1,'validate','validate/g0/test',NULL,NULL,'done',0,NULL,'{"inputs":{},"items":[],"key":"validate/g0/test","kind":"validate","seed":7,"settings":{}}',NULL,'{"environment":{},"failure":null,"outputs":{},"values":{"bad":null,"force_rmse":0.2,"n":2,"note":"text"},"wall_s":0.0}',1,0,1,'tester',NULL,1795285203.87655,1.7952852039201378822e+09);
INSERT INTO "task" VALUES(6,1,2,'sample','sample/i1/r0/0',NULL,NULL,'done',0,NULL,'{"inputs":{},"items":[],"key":"sample/i1/r0/0","kind":"sample","seed":7,"settings":{}}',NULL,'{"environment":{},"failure":null,"outputs":{},"values":{"n_flagged":2},"wall_s":0.0}',1,0,1,'tester',NULL,1.79528520397306728365e+09,1.79528520400444793706e+09);
INSERT INTO "task" VALUES(7,1,2,'label','label/i1/0',1,NULL,'done',0,NULL,'{"inputs":{},"items":[],"key":"label/i1/0","kind":"label","seed":7,"settings":{}}',X'AC334863C1E479E9C6BEA168106124F926BD0883F5D86534FD5F0EDBBB4A6DA0B63D8CBD01D12C12F2975BE3FD5B40C1015CF6CFB96145D6D4FB6E95C0DCC1E0','{"environment":{"host":"n1"},"failure":null,"outputs":{},"values":{},"wall_s":1.0}',1,0,1,'tester',NULL,1.79528520401697325699e+09,1.79528520411611700055e+09);
INSERT INTO "task" VALUES(8,1,2,'train','train/g1',NULL,2,'done',0,NULL,'{"inputs":{},"items":[],"key":"train/g1","kind":"train","seed":7,"settings":{"digest":"e2b2e1f2b6ab67d40488301a8a4a34ce54fa6d3e0513c14b3603db522522b045","n":8}}',NULL,'{"environment":{},"failure":null,"outputs":{},"values":{},"wall_s":0.0}',1,0,1,'tester',NULL,1.79528520413897633555e+09,1.79528520422050476071e+09);
CREATE TABLE task_count (
	iteration_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	state TEXT NOT NULL, 
	n INTEGER NOT NULL, 
	CONSTRAINT pk_task_count PRIMARY KEY (iteration_id, kind, state), 
	CONSTRAINT ck_task_count_state CHECK (state = 'queued' OR state = 'leased' OR state = 'done' OR state = 'failed' OR state = 'cancelled'), 
	CONSTRAINT fk_task_count_iteration_id FOREIGN KEY(iteration_id) REFERENCES iteration (id)
)
 STRICT

;
INSERT INTO "task_count" VALUES(1,'build','queued',0);
INSERT INTO "task_count" VALUES(1,'build','leased',0);
INSERT INTO "task_count" VALUES(1,'build','done',1);
INSERT INTO "task_count" VALUES(1,'label','queued',0);
INSERT INTO "task_count" VALUES(1,'label','leased',0);
INSERT INTO "task_count" VALUES(1,'label','done',2);
INSERT INTO "task_count" VALUES(1,'train','queued',0);
INSERT INTO "task_count" VALUES(1,'train','leased',0);
INSERT INTO "task_count" VALUES(1,'train','done',1);
INSERT INTO "task_count" VALUES(1,'validate','queued',0);
INSERT INTO "task_count" VALUES(1,'validate','leased',0);
INSERT INTO "task_count" VALUES(1,'validate','done',1);
INSERT INTO "task_count" VALUES(2,'sample','queued',0);
INSERT INTO "task_count" VALUES(2,'sample','leased',0);
INSERT INTO "task_count" VALUES(2,'sample','done',1);
INSERT INTO "task_count" VALUES(2,'label','queued',0);
INSERT INTO "task_count" VALUES(2,'label','leased',0);
INSERT INTO "task_count" VALUES(2,'label','done',1);
INSERT INTO "task_count" VALUES(2,'train','queued',0);
INSERT INTO "task_count" VALUES(2,'train','leased',0);
INSERT INTO "task_count" VALUES(2,'train','done',1);
CREATE TABLE task_dep (
	task_id INTEGER NOT NULL, 
	needs_id INTEGER NOT NULL, 
	CONSTRAINT pk_task_dep PRIMARY KEY (task_id, needs_id), 
	CONSTRAINT fk_task_dep_needs_id FOREIGN KEY(needs_id) REFERENCES task (id), 
	CONSTRAINT fk_task_dep_task_id FOREIGN KEY(task_id) REFERENCES task (id)
)
 STRICT

;
CREATE TABLE trajectory (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	iteration_id INTEGER NOT NULL, 
	ensemble_id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	attempt_id INTEGER, 
	sampler TEXT NOT NULL, 
	seed INTEGER NOT NULL, 
	start_structure_id INTEGER NOT NULL, 
	schedule_json TEXT NOT NULL, 
	n_steps INTEGER NOT NULL, 
	time_fs REAL NOT NULL, 
	stop_reason TEXT NOT NULL, 
	trace_json TEXT NOT NULL, 
	CONSTRAINT pk_trajectory PRIMARY KEY (id), 
	CONSTRAINT ck_trajectory_stop_reason CHECK (stop_reason = 'flagged' OR stop_reason = 'finished' OR stop_reason = 'not-finite' OR stop_reason = 'too-close' OR stop_reason = 'too-hot' OR stop_reason = 'exploded' OR stop_reason = 'collapsed' OR stop_reason = 'escaped'), 
	CONSTRAINT ck_trajectory_n_steps CHECK (n_steps >= 0), 
	CONSTRAINT ck_trajectory_time_fs_finite CHECK (time_fs > -1e300 AND time_fs < 1e300), 
	CONSTRAINT fk_trajectory_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id), 
	CONSTRAINT fk_trajectory_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT fk_trajectory_ensemble_id FOREIGN KEY(ensemble_id) REFERENCES ensemble (id), 
	CONSTRAINT fk_trajectory_iteration_id FOREIGN KEY(iteration_id) REFERENCES iteration (id), 
	CONSTRAINT fk_trajectory_start_structure_id FOREIGN KEY(start_structure_id) REFERENCES structure (id), 
	CONSTRAINT fk_trajectory_task_id FOREIGN KEY(task_id) REFERENCES task (id), 
	CONSTRAINT uq_trajectory_task_id_position UNIQUE (task_id, position)
)
 STRICT

;
INSERT INTO "trajectory" VALUES(1,1,2,1,6,0,6,'nemd',11,9,'{"start_K":300.0}',100,50.0,'flagged','{"energy_spread":[0.0,null],"time_fs":[0.0,50.0]}');
INSERT INTO "trajectory" VALUES(2,1,2,1,6,1,6,'nemd',12,12,'{"start_K":300.0}',100,50.0,'flagged','{"energy_spread":[0.0,null],"time_fs":[0.0,50.0]}');
CREATE INDEX ix_event_campaign_id_id ON event (campaign_id, id);
CREATE INDEX ix_task_iteration_id_kind_state ON task (iteration_id, kind, state);
CREATE INDEX ix_task_queue ON task (kind, priority DESC, id) WHERE state = 'queued';
CREATE INDEX ix_attempt_open ON attempt (id) WHERE state = 'open';
CREATE UNIQUE INDEX uq_label_current ON label (structure_id, lot_id) WHERE superseded_by IS NULL;
CREATE INDEX ix_label_put_aside ON label (id) WHERE quality <> 'ok';
CREATE INDEX ix_trajectory_iteration_id ON trajectory (iteration_id);
CREATE INDEX ix_candidate_iteration_id_decision ON candidate (iteration_id, decision);
CREATE INDEX ix_candidate_structure_id ON candidate (structure_id);
CREATE UNIQUE INDEX ix_sighting_trajectory_id_step_kind ON sighting (trajectory_id, step, kind) WHERE trajectory_id IS NOT NULL;
CREATE UNIQUE INDEX ix_sighting_file_id_frame ON sighting (file_id, frame) WHERE file_id IS NOT NULL;
CREATE INDEX ix_snapshot_interval_open ON snapshot_interval (campaign_id, label_id) WHERE to_seq IS NULL;
COMMIT;
